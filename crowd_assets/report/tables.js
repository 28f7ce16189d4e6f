"use strict";
// Tables that a reader sorts, searches and turns the pages of. Without this script every row is shown.
for (const table of document.querySelectorAll("table.rows")) {
  const body = table.tBodies[0];
  const size = Math.min(Number(table.dataset.size), innerWidth < 640 ? 8 : Infinity);
  const all = [...body.rows];
  let shown = all;
  let page = 0;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
  };
  const titles = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  if (table.classList.contains("stack")) {
    for (const row of all) {
      titles.forEach((title, column) => {
        row.cells[column].dataset.title = title;
        row.cells[column].classList.toggle("none", row.cells[column].textContent === "–");
      });
    }
    table.classList.add("titled");
  }
  const bar = make("div", "bar", "");
  const search = make("input", "search", "");
  search.type = "search";
  search.placeholder = `Search ${all.length.toLocaleString("en")} rows`;
  search.setAttribute("aria-label", "Search this table");
  const count = make("span", "count", "");
  count.setAttribute("aria-live", "polite");
  const back = make("button", "turn", "‹");
  const on = make("button", "turn", "›");
  back.setAttribute("aria-label", "Previous rows");
  on.setAttribute("aria-label", "Next rows");

  const show = () => {
    const last = Math.max(0, Math.ceil(shown.length / size) - 1);
    page = Math.min(Math.max(page, 0), last);
    const first = page * size;
    body.replaceChildren(...shown.slice(first, first + size));
    const end = Math.min(first + size, shown.length);
    count.textContent = shown.length ? `${first + 1}–${end} of ${shown.length.toLocaleString("en")}` : "none";
    back.disabled = page === 0;
    on.disabled = page === last;
  };
  back.onclick = () => { page -= 1; show(); };
  on.onclick = () => { page += 1; show(); };
  search.oninput = () => {
    const wanted = search.value.toLowerCase();
    shown = all.filter((row) => row.textContent.toLowerCase().includes(wanted));
    page = 0;
    show();
  };

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return "key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent;
  };
  const order = (column, falling) => (one, other) => {
    const [a, b] = [keyOf(one, column), keyOf(other, column)];
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    const difference = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
    return falling ? -difference : difference;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", "sort", head.textContent);
    head.replaceChildren(button);
    button.onclick = () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const falling = before ? before === "ascending" : numeric;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      all.sort(order(column, falling));
      shown.sort(order(column, falling));
      page = 0;
      show();
    };
  });
  if (all.length > size) {
    bar.append(search, count, back, on);
    table.parentElement.before(bar);
  }
  show();
}
