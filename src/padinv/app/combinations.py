"""The tabs that put codes together: Blend and Transfer take photographs, Sample takes numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from padinv.app.edits import Shown, blend_photographs, sample, transfer_edit
from padinv.app.studio import Sitting
from padinv.app.widgets import HIDDEN, LIVE, Renewal, Widgets, finished, present, told
from padinv.exceptions import ConfigError


def blend_tab(widgets: Widgets) -> None:
    """Builds the tab that joins the padding of one photograph, ring by ring, with the latents of another."""
    gr.Markdown("The padding of the first photograph, which carries layout, and the latents of the second.")
    rings, features = ([(f"{r} px", r) for r in found] for found in (widgets.studio.rings, widgets.studio.features))

    def options() -> list[Any]:
        with gr.Row():
            chosen = [
                gr.CheckboxGroup(rings, value=[r for _, r in rings], label="Rings that are the contour's"),
                gr.Checkbox(True, label="The constant is the contour's, too"),
                gr.Textbox("", label="Latents that are the details', such as 4- (empty: all)", max_lines=1),
            ]
        if features:  # which a model may not have
            with gr.Row():
                chosen.append(gr.CheckboxGroup(features, value=[], label="Features that are the contour's"))
                chosen.append(
                    gr.Checkbox(False, label="Others are the details' on the face alone, and the contour's around it")
                )
        return chosen

    _several(widgets, ("contour", "details"), blend_photographs, options)


def transfer_tab(widgets: Widgets) -> None:
    """Builds the tab that does to a third photograph what was done between two."""
    gr.Markdown("What was done between the first two photographs is done to the third.")

    def options() -> list[Any]:
        with gr.Row():
            strength = gr.Slider(-2, 3, 1, step=0.1, label="Strength")
            padding = gr.Slider(-2, 3, 1, step=0.1, label="Strength of the padding")
        return [strength, padding]

    _several(widgets, ("before", "after", "target"), transfer_edit, options)


def _several(
    widgets: Widgets, names: Sequence[str], function: Callable[..., Shown], options: Callable[[], Sequence[Any]]
) -> None:
    """Builds a tab of several photographs: they and the result stand side by side, the choices below.

    Whenever a photograph or an option changes, the result does.
    """
    studio, states, arrivals = widgets.studio, [], []
    with gr.Row():
        for name in names:
            with gr.Column(min_width=220):
                image = widgets.upload(name.capitalize(), height=260)
                states.append(gr.State(None))

                def arrive(path: str | None, name: str = name) -> Sitting | None:
                    return None if path is None else studio.invert(studio.read(path), name=name)

                arrivals.append(image.change(told(arrive), image, states[-1]))
                arrivals[-1].failure(widgets.readable, image, image, **HIDDEN)
        with gr.Column(min_width=220):
            outputs = widgets.outputs(height=260)
    chosen = options()

    def show(*given: Any) -> Any:
        sittings, values = given[: len(names)], given[len(names) :]
        missing = [name for name, sitting in zip(names, sittings, strict=True) if sitting is None]
        if missing:
            return None, f"Still to give: {' and '.join(missing)}.", None, ""
        return present(function(studio, *sittings, *values))

    inputs = [*states, *chosen]
    for event in arrivals:
        event.then(told(show), inputs, outputs, **LIVE)
    changes = [finished(option) if isinstance(option, gr.Textbox) else option.input for option in chosen]
    gr.on(changes, told(show), inputs, outputs, **LIVE)


def sample_tab(widgets: Widgets) -> Renewal:
    """Builds the tab that makes an image out of a number; returns what makes the first one."""
    with gr.Row():
        with gr.Column(scale=2):
            seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31)
            psi = gr.Slider(0, 1.2, 0.7, step=0.05, label="Truncation: 0 is the mean face")
            mixed = gr.Checkbox(False, label="Mix with another")
            other = gr.Number(100, label="Seed of the other", precision=0, minimum=0, maximum=2**31)
            layers = gr.Textbox("4-", label="Latents that are the other's", max_lines=1)
            following = gr.Button("The next one", variant="primary")
        with gr.Column(scale=3):
            outputs = widgets.outputs("Sample")

    def show(seed: float | None, psi: float, mixed: bool, other: float | None, layers: str) -> Any:
        if seed is None or (mixed and other is None):
            raise ConfigError("A seed is a whole number from 0 on.")
        return present(sample(widgets.studio, int(seed), psi, int(other or 0) if mixed else None, layers))

    inputs = [seed, psi, mixed, other, layers]
    gr.on([seed.input, psi.input, mixed.input, other.input, finished(layers)], told(show), inputs, outputs, **LIVE)
    following.click(lambda seed: (seed or 0) + 1, seed, seed, **LIVE).then(told(show), inputs, outputs, **LIVE)
    return show, inputs, outputs
