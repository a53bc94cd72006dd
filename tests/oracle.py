"""Brute-force float64 estimators, written from the formulas with plain matrices; nothing is shared with the library.

Everything is a matrix over the n = H*W pixels of a channel: A (M, n), B (n, M). Patches are lists of distinct pixels.
"""

from __future__ import annotations

import numpy as np


def operator_matrix(apply, height: int, width: int) -> np.ndarray:
    """Real matrix of a linear map of one-channel images, by its action on the basis; complex outputs count twice."""
    import torch

    basis = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    out = apply(basis).flatten(1)
    if out.is_complex():
        out = torch.cat([out.real, out.imag], 1)
    return out.numpy().T.copy()


def blur_matrix(kernel: np.ndarray, height: int, width: int) -> np.ndarray:
    """A[i, p]: A(x)[i] = sum_j k[j] x[i - (j - c)], circular, written as loops."""
    kh, kw = kernel.shape
    a = np.zeros((height * width, height * width))
    for row in range(height):
        for col in range(width):
            for j in range(kh):
                for i in range(kw):
                    source = ((row - (j - kh // 2)) % height) * width + (col - (i - kw // 2)) % width
                    a[row * width + col, source] += kernel[j, i]
    return a


def fourier_matrix(mask: np.ndarray) -> np.ndarray:
    """Real (2n, n) matrix of mask * fft2 with the orthonormal convention, from its definition."""
    height, width = mask.shape
    rows, cols = np.divmod(np.arange(height * width), width)
    phase = np.outer(rows, rows) / height + np.outer(cols, cols) / width
    f = np.exp(-2j * np.pi * phase) / np.sqrt(height * width) * mask.reshape(-1, 1)
    return np.concatenate([f.real, f.imag])


def pre_inverse_matrix(a: np.ndarray, name: str, lam: float = 1e-2, rtol: float = 1e-6) -> np.ndarray:
    """B from A by its textbook formula."""
    if name == "adjoint":
        return a.T
    if name == "pinv":
        return np.linalg.pinv(a, rcond=rtol)
    return a.T @ np.linalg.inv(a @ a.T + lam * np.eye(len(a)))


def window(position: int, patch_size: int, height: int, width: int) -> list[int]:
    """Distinct pixels of the circular P x P window around a position, in the order of their offsets."""

    def axis(length: int) -> list[int]:
        half = patch_size // 2
        if patch_size >= length:
            return [d - length // 2 for d in range(length)]
        return list(range(-half, half + 1))

    row, col = divmod(position, width)
    return [((row + r) % height) * width + (col + c) % width for r in axis(height) for c in axis(width)]


def zero_window(position: int, patch_size: int, height: int, width: int) -> list[tuple[int, int]]:
    """(place in the patch, pixel) of the pixels of the window that lie inside the image."""
    half = patch_size // 2
    row, col = divmod(position, width)
    return [
        ((r + half) * patch_size + c + half, (row + r) * width + col + c)
        for r in range(-half, half + 1)
        for c in range(-half, half + 1)
        if 0 <= row + r < height and 0 <= col + c < width
    ]


def metrics(bbt, patch_size, height, width, padding="circular") -> tuple[list, list, list]:
    """For every position: its pixels, their places in the patch, and (whitening, log pdet, range) of Q_k Q_k^T."""
    n = height * width
    if padding == "zeros":
        pairs = [zero_window(k, patch_size, height, width) for k in range(n)]
        windows, places = [[p for _, p in pair] for pair in pairs], [tuple(q for q, _ in pair) for pair in pairs]
    else:
        windows = [window(k, patch_size, height, width) for k in range(n)]
        places = [tuple(range(len(windows[0])))] * n
    solved: list[tuple[np.ndarray, tuple]] = []
    metric, scale = [], np.abs(bbt).max()
    diagonal = not np.any(bbt - np.diag(np.diag(bbt)))
    for k in range(n):
        cov = bbt[np.ix_(windows[k], windows[k])]
        if diagonal:
            values, vectors = np.diag(cov), np.eye(len(cov))
        else:
            found = [m for c, m in solved if c.shape == cov.shape and np.abs(c - cov).max(initial=0) <= 1e-8 * scale]
            if found:  # equal but for rounding: solved once
                metric.append(found[0])
                continue
            values, vectors = np.linalg.eigh(cov)
        keep = (values > 1e-12 * max(values.max(initial=0), 0)) & (values > 1e-14 * scale)
        basis = vectors[:, keep]
        span = keep.astype(float) if diagonal else basis @ basis.T  # two ranges are equal if these are
        metric.append((basis / np.sqrt(values[keep]), np.log(values[keep]).sum(), span))
        solved.append((cov, metric[-1]))
    return windows, places, metric


def le_mmse(
    x, z, signal, bbt, sigma, patch_size, positions=None, padding="circular", solved=None
) -> dict[str, np.ndarray]:
    """LE-MMSE of one query at the given positions.

    x, signal = B A x: (N, C, H, W) and z = B y: (C, H, W) float64; bbt = B B^T (n, n). solved: `metrics`, if at hand.
    Returns mean, variance (C, m), log_density, effective_samples (m,), weights (m, N, n).
    """
    count, channels, height, width = x.shape
    n = height * width
    positions = range(n) if positions is None else positions
    windows, places, metric = solved or metrics(bbt, patch_size, height, width, padding)
    x, z = x.reshape(count, channels, n), z.reshape(channels, n)
    signal = signal.reshape(count, channels, n)
    out = {name: [] for name in ("mean", "variance", "log_density", "effective_samples", "weights")}
    for m in positions:
        logits = np.full((count, n), -np.inf)
        span_m = metric[m][2]
        for k in range(n):
            if places[k] != places[m]:
                continue
            whiten, log_det, span = metric[k]
            if metric[k] is not metric[m] and np.abs(span - span_m).max() > 1e-6:
                continue
            d = (z[:, windows[m]] - signal[:, :, windows[k]]) @ whiten
            logits[:, k] = -0.5 * (d**2).sum((1, 2)) / sigma**2 - 0.5 * channels * log_det
        top = logits.max()
        e = np.exp(logits - top)
        w = e / e.sum()
        mean = np.einsum("ik,ick->c", w, x)
        rank = channels * metric[m][0].shape[1]
        competing = int(np.isfinite(logits).any(0).sum())
        out["mean"].append(mean)
        out["variance"].append(np.einsum("ik,ick->c", w, (x - mean[None, :, None]) ** 2))
        out["log_density"].append(
            top + np.log(e.sum()) - np.log(count * competing) - rank / 2 * np.log(2 * np.pi * sigma**2)
        )
        out["effective_samples"].append(1 / (w**2).sum())
        out["weights"].append(w)
    result = {name: np.array(values) for name, values in out.items()}
    result["mean"], result["variance"] = result["mean"].T, result["variance"].T
    return result


def mmse(x, z, signal, bbt, sigma, equivariant: bool) -> np.ndarray:
    """MMSE or E-MMSE of one query, (C, H, W), with every translation written out."""
    count, channels, height, width = x.shape
    values, vectors = np.linalg.eigh(bbt)
    keep = values > 1e-12 * max(values.max(), 0) if values.max() > 0 else values > 0
    basis, whiten = vectors[:, keep], vectors[:, keep] / np.sqrt(values[keep])
    shifts = [(r, c) for r in range(height) for c in range(width)] if equivariant else [(0, 0)]
    logits, images = [], []
    for r, c in shifts:
        order = np.roll(np.arange(height * width).reshape(height, width), (r, c), (0, 1)).ravel()
        if np.abs(basis[order] @ basis[order].T - basis @ basis.T).max(initial=0) > 1e-6:
            continue
        d = (z.reshape(channels, -1)[:, order] - signal.reshape(count, channels, -1)) @ whiten
        logits.append(-0.5 * (d**2).sum((1, 2)) / sigma**2)
        images.append(np.roll(x, (-r, -c), (-2, -1)))
    logits = np.array(logits)
    w = np.exp(logits - logits.max())
    return np.einsum("gi,gichw->chw", w / w.sum(), np.array(images))
