"""VadCLIP once more, as its authors write it, for tests: no line of it is shared with `dsanet/`.

The temporal module and the pieces are those of the DSANet rewrite; here is what is VadCLIP's own: one
prompt after the other, with learned vectors around the name, and the alignment of each snippet with
each class. Tensors go by the authors' names.
"""

from collections.abc import Sequence

import open_clip
import torch
from torch import Tensor

from tests.dsanet.reference import Reference, release_shapes

PREFIX = POSTFIX = 10


class VadCLIPReference(Reference):
    def forward(self, x: Tensor, lengths: Sequence[int]) -> dict[str, Tensor]:
        """Logits, alignment map and class embeddings; padding takes part, as in the release."""
        video = self.video(x, lengths)
        text = self.text()
        anomaly = torch.zeros(x.shape[:2])
        classes = torch.zeros(*x.shape[:2], len(text))
        for b in range(len(x)):
            for t in range(x.shape[1]):
                row = video[b, t] + self.mlp(video[b, t], "mlp2")
                anomaly[b, t] = self.linear(row, "classifier")[0]
            cue = sum(anomaly[b, t] * video[b, t] for t in range(x.shape[1]))
            cue = cue / cue.norm()
            for c in range(len(text)):
                prompt = text[c] + cue
                prompt = prompt + self.mlp(prompt, "mlp1")
                for t in range(x.shape[1]):
                    cosine = (video[b, t] @ prompt) / (video[b, t].norm() * prompt.norm())
                    classes[b, t, c] = cosine / 0.07
        return {"anomaly": anomaly, "classes": classes, "text": text}

    def text(self) -> Tensor:
        w, tokenizer, rows = self.weights, open_clip.tokenizer.SimpleTokenizer(), []
        mask = torch.full((77, 77), float("-inf")).triu(1)
        for name in self.texts:
            tokens = tokenizer([name])[0]
            words = w["clipmodel.token_embedding.weight"][tokens]
            end = int(tokens.argmax())  # the end token has the highest number
            prompt = w["text_prompt_embeddings.weight"].clone()
            prompt[0] = words[0]
            for place in range(1, end):
                prompt[PREFIX + place] = words[place]
            prompt[PREFIX + end + POSTFIX] = words[end]
            x = (prompt + w["clipmodel.positional_embedding"])[None]
            for layer in range(12):
                x = self.clip_block(x, f"clipmodel.transformer.resblocks.{layer}", mask, heads=8)
            x = self.norm(x, "clipmodel.ln_final", 1e-5)
            rows.append(x[0, PREFIX + end + POSTFIX] @ w["clipmodel.text_projection"])
        return torch.stack(rows)


def vadclip_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an authors' file, without CLIP: what DSANet shares, and the prompt."""
    own = release_shapes(layers, adapter_layers=0)
    added = ("video_anomaly_refiner.", "clip_adapter.")
    shared = {name: shape for name, shape in own.items() if not name.startswith(added)}
    return shared | {"text_prompt_embeddings.weight": (77, 512)}
