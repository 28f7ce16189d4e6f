"""The optimiser of seed models: the loss without logits is cross-entropy, and Muon takes the steps of torch."""

from pathlib import Path

from resources.training.seed.optimiser import Checkpoint, Muon, next_token_loss


def test_a_checkpoint_that_is_cut_short_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "model.unfinished.safetensors"
    for content in (b"", b"{", b"\xff" * 4000):
        path.write_bytes(content)
        assert Checkpoint(path, "inputs").read() is None


def test_the_loss_without_logits_is_cross_entropy_with_its_gradients() -> None:
    import torch

    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (7,), generator=generator)
    ours, theirs = (
        next_token_loss(hidden, weight, targets),
        torch.nn.functional.cross_entropy(hidden @ weight.T, targets),
    )
    torch.testing.assert_close(ours, theirs)
    for mine, reference in zip(
        torch.autograd.grad(3 * ours, (hidden, weight)), torch.autograd.grad(3 * theirs, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(mine, reference)


def test_muon_in_single_precision_takes_the_steps_of_torch() -> None:
    import torch

    generator = torch.Generator().manual_seed(1)
    begin = [torch.randn(shape, generator=generator) for shape in ((32, 32), (96, 32), (32, 96), (32, 32))]
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in begin] for _ in range(2))
    muon = Muon(ours)
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        muon.step(0.01)
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=3e-3)  # torch's is of bfloat16
