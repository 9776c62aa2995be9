"""DSANet once more, as the field writes it: formula after formula, loops over videos and classes.

No line of it is shared with `dsanet/`: tests hold the one to the other, and the benchmark measures
the one against the other. Tensors go by the authors' names (`Reference.weights`). What the field's
code loops over is looped over here (videos in the similarity graph and the losses, classes in the
text), attention runs over a masked T × T matrix, the text over all 77 positions, and SG-NM runs in
inference too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Reference:
    weights: Mapping[str, Tensor]
    texts: Sequence[str]
    window: int
    adapter_layers: int
    adapter_weight: float
    release: bool

    def forward(self, x: Tensor, lengths: Sequence[int]) -> dict[str, Tensor]:
        """Outputs by name; the paper's variant sees each video without any padding."""
        if self.release:
            return self._batch(x, lengths)
        single = [self._batch(x[b : b + 1, :n], [n]) for b, n in enumerate(lengths)]
        out = {name: torch.cat([s[name] for s in single]) for name in ("event", "background")}
        for name in ("anomaly", "classes", "rec", "video"):
            rows = [
                torch.cat([s[name][0], s[name].new_zeros(x.shape[1] - n, *s[name].shape[2:])])
                for s, n in zip(single, lengths, strict=True)
            ]
            out[name] = torch.stack(rows)
        out["compact"] = sum(s["compact"] for s in single) / len(single)
        return out | {"text": single[0]["text"]}

    def _batch(self, x: Tensor, lengths: Sequence[int]) -> dict[str, Tensor]:
        video = self.video(x, lengths)
        anomaly = self.linear(video + self.mlp(video, "mlp2"), "classifier")[..., 0]
        text = self.text()
        cue = torch.stack([anomaly[b] @ video[b] for b in range(len(x))])
        cue = cue / cue.norm(dim=-1, keepdim=True)
        enhanced = text[None] + cue[:, None]
        enhanced = enhanced + self.mlp(enhanced, "mlp1")
        classes = self.cosine(video, enhanced) / 0.07
        event, background = self.prototypes(video, anomaly)
        compact, rec = self.normality(video, anomaly)
        return {
            "anomaly": anomaly,
            "classes": classes,
            "event": self.cosine(event[:, None], text[None])[:, 0] / 0.07,
            "background": self.cosine(background[:, None], text[None])[:, 0] / 0.07,
            "text": text,
            "video": video,
            "compact": compact,
            "rec": rec,
        }

    # Anomaly detection branch

    def video(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        w, T = self.weights, x.shape[1]
        x = x + w["frame_position_embeddings.weight"][:T]
        mask = torch.full((T, T), float("-inf"), device=x.device)
        for start in range(0, T, self.window):
            mask[start : start + self.window, start : start + self.window] = 0
        layer = 0
        while f"temporal.resblocks.{layer}.ln_1.weight" in w:
            x = self.clip_block(x, f"temporal.resblocks.{layer}", mask, heads=1)
            layer += 1
        similarity = torch.zeros(len(x), T, T, device=x.device)
        for b, n in enumerate(lengths):
            rows = x[b, :n] / x[b, :n].norm(dim=-1, keepdim=True)
            cosine = rows @ rows.T
            similarity[b, :n, :n] = torch.where(cosine > 0.7, cosine, 0.0).softmax(dim=1)
        position = torch.arange(T, device=x.device)
        distance = torch.exp(-(position[:, None] - position[None]).abs() / math.e)
        channels = []
        for graph, (first, second) in ((similarity, ("gc1", "gc2")), (distance, ("gc3", "gc4"))):
            hidden = quick_gelu(graph @ (x @ w[f"{first}.weight"]) + self.convolution(x, f"{first}.residual"))
            channels.append(quick_gelu(graph @ (hidden @ w[f"{second}.weight"]) + hidden))
        return self.linear(torch.cat(channels, dim=-1), "linear")

    def convolution(self, x: Tensor, name: str) -> Tensor:
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv1d(x.transpose(1, 2), kernel, bias, padding=2).transpose(1, 2)

    def clip_block(self, x: Tensor, name: str, mask: Tensor, heads: int) -> Tensor:
        w = self.weights
        normed = self.norm(x, f"{name}.ln_1", 1e-5)
        qkv = normed @ w[f"{name}.attn.in_proj_weight"].T + w[f"{name}.attn.in_proj_bias"]
        q, k, v = (split_heads(part, heads) for part in qkv.chunk(3, dim=-1))
        attention = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + mask).softmax(dim=-1)
        x = x + self.linear(join_heads(attention @ v), f"{name}.attn.out_proj")
        return x + self.mlp(self.norm(x, f"{name}.ln_2", 1e-5), f"{name}.mlp")

    # Self-guided normality modelling

    def normality(self, video: Tensor, anomaly: Tensor) -> tuple[Tensor, Tensor]:
        w, name = self.weights, "video_anomaly_refiner"
        count = max(1, int(0.8 * video.shape[1]))
        with torch.no_grad():
            order = torch.sigmoid(anomaly).topk(video.shape[1], largest=False, dim=1).indices[:, :count]
            candidates = torch.stack([video[b, order[b]] for b in range(len(video))])
        patterns = w[f"{name}.video_prototypes"].expand(len(video), -1, -1)
        patterns = self.cross_block(
            patterns, candidates, f"{name}.dnp_extractor.0", residual=True, softmax=True
        )
        compact = (1 - self.cosine(candidates, patterns)).min(dim=-1).values.mean()
        rebuilt = self.mlp(video, f"{name}.bottleneck")
        layer = 0
        while f"{name}.decoder.{layer}.norm1.weight" in w:
            residual = not self.release and layer > 0
            block = f"{name}.decoder.{layer}"
            rebuilt = self.cross_block(rebuilt, patterns, block, residual=residual, softmax=not self.release)
            layer += 1
        return compact, (1 - F.cosine_similarity(video, rebuilt, dim=-1)) / 2

    def cross_block(self, x: Tensor, memory: Tensor, name: str, residual: bool, softmax: bool) -> Tensor:
        queries, keys = self.norm(x, f"{name}.norm1", 1e-8), self.norm(memory, f"{name}.norm1", 1e-8)
        q = split_heads(self.linear(queries, f"{name}.attn.q"), 8)
        k, v = (split_heads(part, 8) for part in self.linear(keys, f"{name}.attn.kv").chunk(2, dim=-1))
        if softmax:
            attention = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        else:
            q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
            attention = F.relu(q @ k.transpose(-2, -1) * self.weights[f"{name}.attn.learn_scale"])
        mixed = self.linear(join_heads(attention @ v), f"{name}.attn.proj")
        x = x + mixed if residual else mixed
        normed = self.norm(x, f"{name}.norm2", 1e-8)
        return x + self.linear(F.gelu(self.linear(normed, f"{name}.mlp.fc1")), f"{name}.mlp.fc2")

    # Anomaly classification branch

    def prototypes(self, video: Tensor, anomaly: Tensor) -> tuple[Tensor, Tensor]:
        if self.release:
            p = torch.sigmoid(anomaly)
            event, background = torch.exp(10 * p) - 1, torch.exp(10 * (1 - p)) - 1
            event, background = (v / v.abs().sum(dim=1, keepdim=True) for v in (event, background))
        else:
            event = anomaly.softmax(dim=1)
            background = 1 - event
        return (event[..., None] * video).sum(1), (background[..., None] * video).sum(1)

    def text(self) -> Tensor:
        w, clip = self.weights, "clip_adapter.clipmodel"
        tokenizer = open_clip.tokenizer.SimpleTokenizer()
        rows = []
        for text in self.texts:
            tokens = tokenizer([text]).to(self.weights["classifier.bias"].device)
            x = w[f"{clip}.token_embedding.weight"][tokens] + w[f"{clip}.positional_embedding"]
            mask = torch.full((77, 77), float("-inf"), device=tokens.device).triu(1)
            for layer in range(12):
                x = self.clip_block(x, f"{clip}.transformer.resblocks.{layer}", mask, heads=8)
                if layer < self.adapter_layers:
                    adapted = F.leaky_relu(x @ w[f"clip_adapter.text_adapter.{layer}.fc.0.weight"].T)
                    adapted = adapted / adapted.norm(dim=-1, keepdim=True) * x.norm(dim=-1, keepdim=True)
                    x = (1 - self.adapter_weight) * x + self.adapter_weight * adapted
            row = self.norm(x, f"{clip}.ln_final", 1e-5)[0, tokens[0].argmax()]
            if self.release:
                row = F.leaky_relu(row @ w[f"clip_adapter.text_adapter.{self.adapter_layers}.fc.0.weight"].T)
                row = row / row.norm()
            else:
                row = row @ w[f"{clip}.text_projection"]
            rows.append(row)
        return torch.stack(rows)

    # Pieces

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def mlp(self, x: Tensor, name: str) -> Tensor:
        return self.linear(quick_gelu(self.linear(x, f"{name}.c_fc")), f"{name}.c_proj")

    def norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        return F.layer_norm(
            x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps
        )

    @staticmethod
    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return (a / a.norm(dim=-1, keepdim=True)) @ (b / b.norm(dim=-1, keepdim=True)).transpose(-2, -1)


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def losses(
    out: Mapping[str, Tensor], labels: Tensor, lengths: Sequence[int], release: bool
) -> dict[str, Tensor]:
    """The seven terms, a video after the other."""
    B, C = labels.shape
    terms = dict.fromkeys(
        ("det", "align", "consist", "compact", "event", "bkg", "sep"), torch.zeros((), device=labels.device)
    )
    rows = sum(lengths)
    for b, n in enumerate(lengths):
        k = n // 16 + 1
        target = labels[b] / labels[b].sum()
        p = torch.sigmoid(out["anomaly"][b, :n]).topk(k).values.mean()
        y = 1 - labels[b, 0]
        terms["det"] = (
            terms["det"] - (y * p.log().clamp(min=-100) + (1 - y) * (1 - p).log().clamp(min=-100)) / B
        )
        scores = torch.stack([out["classes"][b, :n, c].topk(k).values.mean() for c in range(C)])
        terms["align"] = terms["align"] - (target * scores.log_softmax(0)).sum() / B
        difference = torch.sigmoid(out["anomaly"][b, :n]) - out["rec"][b, :n]
        terms["consist"] = terms["consist"] + (difference**2).sum() / rows
        background = torch.zeros(C, device=labels.device)
        background[0] = 1
        if release:
            background[1:] = 0.01
            background = 0.9 * background / background.sum() + 0.1 / C
            target = 0.9 * target + 0.1 / C
        terms["event"] = terms["event"] - (target * out["event"][b].log_softmax(0)).sum() / B
        terms["bkg"] = terms["bkg"] - (background * out["background"][b].log_softmax(0)).sum() / B
    terms["compact"] = out["compact"]
    unit = out["text"] / out["text"].norm(dim=-1, keepdim=True)
    for c in range(1, C):
        terms["sep"] = terms["sep"] + (unit[0] @ unit[c]).abs() / (C - 1 if release else 1)
    return terms


def belief_modulation(anomaly: Tensor, classes: Tensor, beta: float) -> Tensor:
    """One snippet after the other, one class after the other."""
    out = torch.zeros_like(classes)
    for b in range(classes.shape[0]):
        for t in range(classes.shape[1]):
            p = 1 / (1 + math.exp(-float(anomaly[b, t]) / beta))
            exponentials = [math.exp(float(s - classes[b, t].max()) / beta) for s in classes[b, t]]
            out[b, t, 0] = 1 - p
            for c in range(1, classes.shape[2]):
                out[b, t, c] = p * exponentials[c] / sum(exponentials[1:])
    return out


def release_shapes(layers: int, adapter_layers: int, decoder_layers: int = 8) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an authors' file, without the two copies of CLIP."""
    D, H, shapes = 512, 256, {}

    def linear(name: str, width_in: int, width_out: int) -> None:
        shapes.update({f"{name}.weight": (width_out, width_in), f"{name}.bias": (width_out,)})

    def norm(name: str) -> None:
        shapes.update({f"{name}.weight": (D,), f"{name}.bias": (D,)})

    for layer in range(layers):
        block = f"temporal.resblocks.{layer}"
        shapes |= {f"{block}.attn.in_proj_weight": (3 * D, D), f"{block}.attn.in_proj_bias": (3 * D,)}
        linear(f"{block}.attn.out_proj", D, D)
        linear(f"{block}.mlp.c_fc", D, 4 * D)
        linear(f"{block}.mlp.c_proj", 4 * D, D)
        norm(f"{block}.ln_1")
        norm(f"{block}.ln_2")
    for first, second in (("gc1", "gc2"), ("gc3", "gc4")):
        shapes |= {f"{first}.weight": (D, H), f"{second}.weight": (H, H)}
        shapes |= {f"{first}.residual.weight": (H, D, 5), f"{first}.residual.bias": (H,)}
    for mlp in ("mlp1", "mlp2", "video_anomaly_refiner.bottleneck"):
        linear(f"{mlp}.c_fc", D, 4 * D)
        linear(f"{mlp}.c_proj", 4 * D, D)
    linear("linear", D, D)
    linear("classifier", D, 1)
    shapes |= {"disAdj.sigma": (1,), "frame_position_embeddings.weight": (256, D)}
    shapes |= {f"clip_adapter.text_adapter.{i}.fc.0.weight": (D, D) for i in range(adapter_layers + 1)}
    shapes["video_anomaly_refiner.video_prototypes"] = (16, D)
    blocks = ["dnp_extractor.0", *(f"decoder.{i}" for i in range(decoder_layers))]
    for block in (f"video_anomaly_refiner.{name}" for name in blocks):
        linear(f"{block}.attn.q", D, D)
        linear(f"{block}.attn.kv", D, 2 * D)
        linear(f"{block}.attn.proj", D, D)
        linear(f"{block}.mlp.fc1", D, 4 * D)
        linear(f"{block}.mlp.fc2", 4 * D, D)
        norm(f"{block}.norm1")
        norm(f"{block}.norm2")
        if ".decoder." in block:
            shapes[f"{block}.attn.learn_scale"] = (8, 1, 1)
    return shapes


def clip_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of OpenAI's ViT-B/16."""
    with torch.device("meta"):
        clip = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16-quickgelu"))
    return {name: tuple(tensor.shape) for name, tensor in clip.state_dict().items()}
