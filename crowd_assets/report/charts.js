"use strict";
// Draws each chart again when it comes into view, at the width of its place. Until then, and without scripts, the drawing
// that came with the page stands there.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

const point = (_, event, __, value) => {
  tip.hidden = !value;
  if (!value) return;
  const lines = Object.entries(value).filter(([, text]) => text !== "" && text != null).map(([name, text]) => {
    const line = document.createElement("div");
    line.textContent = name.trim() ? `${name}: ${text}` : text;
    return line;
  });
  tip.replaceChildren(...lines);
  const { clientX: x, clientY: y } = event;
  const right = x + 14 + tip.offsetWidth < innerWidth;
  tip.style.left = `${right ? x + 14 : Math.max(4, x - 14 - tip.offsetWidth)}px`;
  tip.style.top = `${Math.min(y + 14, innerHeight - tip.offsetHeight - 4)}px`;
};

const NARROW = 520; // pixels within which two columns of a legend do not fit

const draw = async (figure) => {
  const place = figure.querySelector(".drawing");
  const before = [...place.childNodes];
  try {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    if (place.clientWidth < NARROW) {
      const narrow = { columns: 1, labelLimit: place.clientWidth - 110 };
      for (const legend of [spec.config.legend, ...(spec.legends ?? [])]) Object.assign(legend, narrow);
    }
    const view = new vega.View(vega.parse(spec, null, { ast: true }), {
      expr: vega.expressionInterpreter, renderer: "svg", hover: true, tooltip: point,
    });
    place.replaceChildren();
    view.initialize(place, figure.querySelector(".inputs"));
    const fit = () => view.width(place.clientWidth).runAsync();
    await fit();
    figure.classList.add("drawn");
    let width = place.clientWidth;
    new ResizeObserver(() => {
      if (place.clientWidth === width || !place.clientWidth) return;
      width = place.clientWidth;
      fit();
    }).observe(place);
  } catch (problem) {
    place.replaceChildren(...before);
    console.error(problem);
  }
};

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "300px" });
document.querySelectorAll("figure.chart").forEach((figure) => seen.observe(figure));
