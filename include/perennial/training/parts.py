"""Parts of networks that models share: each a layer of a few lines that can be read, copied and changed.

| tensor of the encoder | part | gives |
| --- | --- | --- |
| `Category` | `Embeddings`, or `EmbeddingEnsemble` together with numbers | a vector for each row; outputs of every member |
| `Pixels`, `Block` | `Convolutions` | outputs |
| `Series`, `Words` | `Recurrent` (LSTM or GRU) | a vector for each row |
| `Words` | `Transformer`, or `mean_of_codes` of `perennial.training.module` | a vector for each row |
| numbers, `Category` | `Autoencoder` | how unusual each row is |

All of them can be written as ONNX for any number of rows, look at no padding and mix no rows:

    >>> import torch
    >>> words = torch.tensor([[5, 3, 0, 0], [0, 0, 0, 0]])  # codes of two texts, of which the second is empty
    >>> Transformer(codes=10, length=4, width=8)(words).shape
    torch.Size([2, 8])
    >>> spent = torch.tensor([[[0.5, -1.0, 0.0], [1.0, 1.0, 0.0]]])  # a list of two numbers, as `Series` gives it
    >>> Recurrent(2, 16, cell="gru")(*steps_of(spent)).shape
    torch.Size([1, 16])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

_NEVER = -1e9  # added to a weight of attention before the softmax: as good as minus infinity, and a row of nothing else stays finite


class Embeddings(nn.Module):
    """A vector for each code of each column, side by side: of `size // 2 + 1` numbers, but at most `widest`.

    Args:
        sizes: number of codes of each column, as `encoder.sizes` says.
        widest: most numbers for one column.
    """

    def __init__(self, sizes: Sequence[int], widest: int = 8) -> None:
        super().__init__()
        embeddings = [nn.Embedding(size, min(widest, size // 2 + 1)) for size in sizes]
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.1)
        self.width = sum(embedding.embedding_dim for embedding in embeddings)
        self.of_columns = nn.ModuleList(embeddings)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [rows, columns] to [rows, width]."""
        return torch.cat([embedding(codes[:, place]) for place, embedding in enumerate(self.of_columns)], dim=1)


class SharedLinear(nn.Module):
    """A linear layer that the members of an ensemble share; each scales its inputs and outputs and adds its own bias."""

    def __init__(self, members: int, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * (2 / inputs) ** 0.5)
        # Random signs at the first layer make the members differ from the start.
        self.before = nn.Parameter(torch.randn(members, inputs, 1).sign() if first else torch.ones(members, inputs, 1))
        self.after = nn.Parameter(torch.ones(members, 1, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[members or 1, rows, inputs] to [members, rows, outputs]."""
        # Scaling the weights is the same as scaling inputs and outputs, and there are far fewer of them.
        own = self.before * self.weight * self.after
        outputs: torch.Tensor = torch.baddbmm(self.bias, hidden.expand(len(own), -1, -1), own)
        return outputs


class EmbeddingEnsemble(nn.Module):
    """Numbers and embedded codes through layers that the members of an ensemble share up to cheap factors of their own.

    Let each member learn for itself (`training_loss`) and take their mean as the forecast: their errors differ, so it is better than
    any of them. After Gorishniy et al., "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling" (2025) and Wen et
    al., "BatchEnsemble" (2020).

    Args:
        numbers: values per row of the tensor of numbers, as `encoder.width` says.
        sizes: number of codes of each column, as `encoder.sizes` says.
        outputs: of each member, such as the number of classes.
        members: how many there are.
        hidden: width of the layers.
        layers: how many there are.
        embedding: most numbers for one column of codes.
        dropout: share of the hidden values that a step of training leaves out.
        input_dropout: share of the inputs that it leaves out.
    """

    def __init__(
        self,
        numbers: int,
        sizes: Sequence[int],
        outputs: int,
        *,
        members: int = 8,
        hidden: int = 64,
        layers: int = 2,
        embedding: int = 8,
        dropout: float = 0.3,
        input_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes, embedding)
        self.scale = nn.BatchNorm1d(numbers, affine=False)
        self.input_dropout = nn.Dropout(input_dropout)
        width = numbers + self.embeddings.width
        self.layers = nn.ModuleList(
            SharedLinear(members, width if layer == 0 else hidden, hidden, first=layer == 0) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.Parameter(torch.randn(members, hidden, outputs) * (0.5 / hidden**0.5))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Numbers [rows, numbers] and codes [rows, columns] to the outputs of every member: [members, rows, outputs]."""
        hidden = self.input_dropout(torch.cat([self.scale(numbers), self.embeddings(categories)], dim=1))[None]
        for layer in self.layers:
            hidden = functional.relu(layer(hidden))
            # One mask for all members: drawing random numbers would otherwise take more time than the layers.
            hidden = hidden * self.dropout(torch.ones_like(hidden[:1])) if self.training else hidden
        outputs: torch.Tensor = hidden @ self.heads + self.bias
        return outputs


class Autoencoder(nn.Module):
    """Squeezes numbers and embedded codes through a narrow layer and says how badly each row comes out again: the less usual the row,
    the worse. The task `anomaly` is made of it.

    The error of a row is the mean, over its numbers and columns of codes, of the squared error of a number in standard deviations of the
    training rows, at most `worst`, and of minus the logarithm of the share that the right code gets. After Hawkins et al., "Outlier
    Detection Using Replicator Neural Networks" (2002).

    Args:
        numbers: values per row of the tensor of numbers, as `encoder.width` says.
        sizes: number of codes of each column, as `encoder.sizes` says; none without such columns.
        narrow: width of the narrow layer.
        hidden: width of the layers beside it.
        worst: largest squared error of a number that counts, so that one absurd value does not outweigh a training.
    """

    def __init__(self, numbers: int, sizes: Sequence[int] = (), *, narrow: int = 4, hidden: int = 32, worst: float = 1e4) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes) if sizes else None
        self.scale = nn.BatchNorm1d(numbers, affine=False)
        self.sizes, self.worst = list(sizes), worst
        width = numbers + (self.embeddings.width if self.embeddings else 0)
        self.squeeze = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, narrow))
        self.spread = nn.Sequential(nn.Linear(narrow, hidden), nn.ReLU())
        self.numbers = nn.Linear(hidden, numbers)
        self.codes = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor | None = None) -> torch.Tensor:
        """Numbers [rows, numbers] and codes [rows, columns] to the error of each row, [rows, 1]."""
        scaled = self.scale(numbers)
        given = scaled.clamp(-(self.worst**0.5), self.worst**0.5)
        embedded = [self.embeddings(categories)] if self.embeddings is not None else []
        hidden = self.spread(self.squeeze(torch.cat([given, *embedded], dim=1)))
        errors = [((self.numbers(hidden) - given) ** 2).clamp(max=self.worst)]
        for place, layer in enumerate(self.codes):
            shares = functional.log_softmax(layer(hidden), dim=1)
            errors.append(-shares.gather(1, categories[:, place : place + 1]))  # type: ignore[index]
        return torch.cat(errors, dim=1).mean(dim=1, keepdim=True)


class Convolutions(nn.Sequential):
    """A small convolutional network for pictures: two layers of 3 x 3, a pool, two layers on top.

    Args:
        shape: colors, height and width of a picture; height and width of at least 2.
        outputs: such as the number of classes.
        channels: of the first layer; the second has twice as many.
        hidden: width of the layer before the outputs.
        dropout: share that a step of training leaves out before each of the layers on top.
    """

    def __init__(self, shape: tuple[int, int, int], outputs: int, *, channels: int = 16, hidden: int = 64, dropout: float = 0.2) -> None:
        colors, height, width = shape
        super().__init__(
            nn.Conv2d(colors, channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * channels * (height // 2) * (width // 2), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )


class Recurrent(nn.Module):
    """An LSTM or GRU that reads the steps of each row in their order: its state after the last one that is there.

    Args:
        width: numbers of a step.
        hidden: numbers of the state.
        cell: `lstm` or `gru`.
        layers: how many there are, each reading the states of the one below.
    """

    def __init__(self, width: int, hidden: int, *, cell: Literal["lstm", "gru"] = "lstm", layers: int = 1) -> None:
        super().__init__()
        self.cells = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](width, hidden, num_layers=layers, batch_first=True)

    def forward(self, steps: torch.Tensor, is_there: torch.Tensor) -> torch.Tensor:
        """Steps [rows, length, width], of which [rows, length] are there, to [rows, hidden]; zeros where there is none."""
        states, _ = self.cells(steps)
        places = torch.arange(1, steps.shape[1] + 1, device=steps.device)
        last = (is_there * places).amax(dim=1)  # counted from 1; 0 where there is none
        # What comes after the last step is read, too, and counts for nothing: a state knows only what came before.
        is_last = (places == last[:, None]).unsqueeze(2).to(states.dtype)
        state: torch.Tensor = (states * is_last).sum(dim=1)
        return state


class Transformer(nn.Module):
    """A small Transformer over the words of a text: each looks at all others; the mean of what they come to.

    Layers are normalised before attention, as in Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020), so that
    it learns without a warm-up. Attention is written out, since the library's own takes other ways in training than in evaluation.

    Args:
        codes: number of words that it knows, with those of padding and of unknown words, as `encoder.sizes` says.
        length: of a row of codes.
        width: numbers of a word; a multiple of `heads`.
        heads: in how many ways a word looks at the others.
        layers: how many there are.
        dropout: share that a step of training leaves out.
    """

    def __init__(self, codes: int, length: int, width: int = 32, *, heads: int = 4, layers: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.words = nn.Embedding(codes, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Attending(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [rows, length], 0 is padding, to [rows, width]; zeros where there is no word."""
        is_there = codes > 0
        hidden = self.dropout(self.words(codes) + self.places)
        for layer in self.layers:
            hidden = layer(hidden, is_there)
        weights = is_there.unsqueeze(2).to(hidden.dtype)
        mean: torch.Tensor = (self.norm(hidden) * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return mean


class _Attending(nn.Module):
    """One layer of a Transformer: attention to the words that are there, then two layers for each word by itself."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width = heads, width // heads
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks, self.offers, self.says, self.joined = (nn.Linear(width, width) for _ in range(4))
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, is_there: torch.Tensor) -> torch.Tensor:
        """[rows, length, width], of which [rows, length] are there, to the same shape."""
        words = self.before_attention(hidden)
        asked, offered, said = (self._by_head(layer(words)) for layer in (self.asks, self.offers, self.says))
        closeness = asked @ offered.transpose(2, 3) / self.width**0.5
        attention = torch.softmax(closeness + (~is_there)[:, None, None, :] * _NEVER, dim=-1)
        heard = (self.dropout(attention) @ said).transpose(1, 2).flatten(2)
        hidden = hidden + self.dropout(self.joined(heard))
        outputs: torch.Tensor = hidden + self.dropout(self.layers(self.before_layers(hidden)))
        return outputs

    def _by_head(self, values: torch.Tensor) -> torch.Tensor:
        """[rows, length, width] to [rows, heads, length, width of a head]."""
        return values.reshape(*values.shape[:2], self.heads, self.width).transpose(1, 2)


def steps_of(series: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `Recurrent` takes, of a tensor of `Series` [rows, 2, length]: steps [rows, length, 2], and which of them there are."""
    return series.transpose(1, 2), series[:, 1] > 0
