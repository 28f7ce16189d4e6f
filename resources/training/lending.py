"""Models that stay loaded between the calls of a process: a round reads its root once, and makes the models of its lineages from that.

A model is lent and put back as it was loaded: what training and generation put into its layers is taken out again, and nobody changes
its weights. Models that are kept beside the one in use may take a share of the memory; the one not used for longest goes first.

Belongs here: keeping, lending, putting back. Does not belong here: reading files, merging (see ``loading``).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from resources.training import memory
from resources.training.loading import LanguageModel, merge, read_adapter
from resources.training.prompting import TextOptions

SHARE = 0.25  # of the memory of a device, that models which are kept may take together

Load = Callable[[Sequence[Path]], LanguageModel]


class _AsLoaded:
    """What a model's modules hold, to be put back: tensors themselves, no copies of them."""

    def __init__(self, model: Any) -> None:
        self.modules = [(module, _shallow(vars(module))) for module in model.modules()]
        self.learning = [(each, each.requires_grad) for each in model.parameters()]

    def put_back(self) -> None:
        for module, held in self.modules:
            vars(module).clear()
            vars(module).update(_shallow(held))
        for parameter, learns in self.learning:
            parameter.requires_grad_(learns)
            parameter.grad = None


def _shallow(held: dict[str, Any]) -> dict[str, Any]:
    return {name: copy(value) if isinstance(value, dict | set) else value for name, value in held.items()}


@dataclass(frozen=True)
class _Kept:
    loaded: LanguageModel
    as_loaded: _AsLoaded

    @classmethod
    def of(cls, loaded: LanguageModel) -> "_Kept":
        return cls(loaded, _AsLoaded(loaded.model))


_kept: dict[tuple[Any, ...], _Kept] = {}  # the one used last at the end


@contextmanager
def lent(
    load: Load, adapters: Sequence[Path], what: tuple[Any, ...], options: TextOptions, *, in_memory: bool
) -> Iterator[LanguageModel]:
    """The model of a lineage, for the time of the block; after an error inside it nobody gets it again.

    Args:
        load: Reads the root and merges adapters into it, as :func:`loading.load` does.
        adapters: Directories of the lineage's adapters, the root's first child first.
        what: All else that decides what is loaded, but ``options``: which root, in what precision, where.
        options: What an operator chose about its texts.
        in_memory: Whether the lineage may be made from a kept root: on a CPU, where that gives the weights that reading gives.
    """
    key = (*what, *map(str, adapters))
    kept = _kept.pop(key, None) or _made(load, adapters, what, in_memory=in_memory)
    model = replace(kept.loaded, options=options)
    model.model.generation_config.eos_token_id = list(model.texts.ends) or None
    yield model
    kept.as_loaded.put_back()
    _kept[key] = kept
    _leave_room(kept.loaded.device, 0)


def forget() -> None:
    """Let go of every model that is kept."""
    _kept.clear()


def _made(load: Load, adapters: Sequence[Path], what: tuple[Any, ...], *, in_memory: bool) -> _Kept:
    root = _kept.get(what)
    if root is None:
        for other in [each for each in _kept if each[: len(what)] != what]:
            del _kept[other]
        if last := next(reversed(_kept.values()), None):
            _leave_room(last.loaded.device, _bytes([last]))
    if not (adapters and in_memory):
        return _Kept.of(load(adapters))
    if root is None:
        root = _Kept.of(load([]))
        if 2 * _bytes([root]) > SHARE * memory.total_bytes(root.loaded.device):
            merge(root.loaded.model, [read_adapter(each) for each in adapters])
            return _Kept.of(root.loaded)
        _kept[what] = root
    return _Kept.of(derived(root.loaded, adapters))


def derived(root: LanguageModel, adapters: Sequence[Path]) -> LanguageModel:
    """A root with adapters merged into it, beside the root: both share the weights that no adapter changes."""
    from torch.nn import Parameter

    read = [read_adapter(each) for each in adapters]
    shared: dict[int, Any] = {id(each): each for each in chain(root.model.parameters(), root.model.buffers())}
    for layer in {layer for each in read for layer in each.layers}:
        weight: Any = root.model.get_submodule(layer).weight
        shared[id(weight)] = Parameter(weight.data, requires_grad=weight.requires_grad)
    model = deepcopy(root.model, shared)
    merge(model, read)
    return replace(root, model=model)


def _leave_room(device: Any, wanted: int) -> None:
    """Let go of the models not used for longest, until the others and ``wanted`` bytes more are within the share; the last stays where
    nothing more is wanted."""
    most = SHARE * memory.total_bytes(device)
    while len(_kept) > (0 if wanted else 1) and _bytes(list(_kept.values())) + wanted > most:
        del _kept[next(iter(_kept))]


def _bytes(kept: Sequence[_Kept]) -> int:
    """Memory of the weights of some models, what they share counted once."""
    tensors = chain.from_iterable(chain(each.loaded.model.parameters(), each.loaded.model.buffers()) for each in kept)
    return sum({each.data_ptr(): each.numel() * each.element_size() for each in tensors}.values())
