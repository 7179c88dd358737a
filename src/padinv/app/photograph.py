"""The tabs of one photograph: Invert takes it; Edit, Drag and Compare go on with its code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
from PIL import Image

from padinv.app.edits import Shown, compare, drag_points, edit, inverted, mask_of, read_points
from padinv.app.studio import ROUND, SHOWN, Sitting, error_map, located, picture
from padinv.app.widgets import HIDDEN, LIVE, NOTHING, STILL, Renewal, Widgets, finished, given, present, told
from padinv.pictures import mark_points

FIRST = "Drop a photograph of a face, paste one, or click on one of the portraits."


def invert_tab(widgets: Widgets) -> list[Any]:
    """Builds the tab of a photograph and its reconstruction; returns the events that bring a new photograph."""
    studio = widgets.studio
    with gr.Row():
        with gr.Column(scale=2):
            photograph = widgets.upload("Photograph", height=320)
            align = gr.Checkbox(False, label="Find the face, and turn it upright")
            with gr.Group():
                steps = gr.Slider(ROUND, studio.limits.steps, 100, step=ROUND, label="Steps of refinement")
                with gr.Row():
                    refine = gr.Button("Refine", variant="primary")
                    stop = gr.Button("Stop", variant="stop")
        with gr.Column(scale=3):
            slider = gr.ImageSlider(label="Photograph and reconstruction", type="pil", interactive=False)
            said = gr.Markdown(FIRST)
            with gr.Row():
                place = gr.Image(label="What was taken", alt_text="The photograph with a frame", **STILL)
                errors = gr.Image(label="Error", alt_text="Error map", **STILL)
            taken = widgets.take_along()
    outputs = [widgets.sitting, slider, said, place, errors, *taken]

    def show(sitting: Sitting, text: str = "") -> list[Any]:
        heat, most = error_map(sitting)
        numbers = studio.measure(sitting.inversion.images, sitting.target)
        facts = [f"**{name}** {value:.4f}" for name, value in numbers.items()]
        text = f"{text} {' · '.join(facts)} · largest error {most:.2f} of 2".strip()
        pair = (picture(sitting.target), picture(sitting.inversion.images))
        shown = inverted(studio, sitting)
        return [sitting, pair, text, located(sitting), heat, shown, shown.script]

    def begin(path: str | None, align: bool) -> list[Any]:
        if path is None:
            return [FIRST if output is said else None for output in outputs]
        return show(studio.invert(studio.read(path), align))

    def go_on(sitting: Sitting | None, steps: float) -> Iterator[list[Any]]:
        for done, each in enumerate(studio.refined(given(sitting), int(steps)), start=1):
            yield show(each, f"Step {done * ROUND} of {int(steps)}:")

    refined = refine.click(told(go_on), [widgets.sitting, steps], outputs, show_progress="minimal")
    widgets.renewed = [photograph.change, align.change]
    gr.on(widgets.renewed, None, cancels=[refined])  # first, or its next round would bring the former photograph back
    arrived = gr.on(widgets.renewed, told(begin), [photograph, align], outputs)
    arrived.failure(widgets.readable, photograph, photograph, **HIDDEN)
    stopped = stop.click(lambda: None, cancels=[refined], queue=False)
    return [arrived, refined, stopped]


def edit_tab(widgets: Widgets) -> Renewal:
    """Builds the tab of sliders for directions; returns what edits a new photograph as they stand."""
    studio, sitting = widgets.studio, widgets.sitting
    with gr.Row():
        with gr.Column(scale=2):
            sliders = [_direction_slider(widgets, name) for name in studio.directions]
            layers = gr.Textbox("", label="Latents that move, such as 0-5 (empty: those of the direction)", max_lines=1)
            padding = gr.Checkbox(True, label="The padding moves, too")
            reset = gr.Button("Back to 0")
        with gr.Column(scale=3):
            outputs = widgets.outputs("Edited", NOTHING)
            paste = gr.Button("Paste back into the photograph")
            pasted = gr.Image(
                label="Pasted back", alt_text="The photograph with the edit", height=320, elem_classes=["fill"], **STILL
            )

    def change(sitting: Sitting | None, layers: str, padding: bool, *strengths: float) -> Any:
        chosen = dict(zip(studio.directions, strengths, strict=True))
        return present(edit(studio, given(sitting), chosen, layers, padding))

    def paste_back(sitting: Sitting | None, shown: Shown | None) -> Image.Image:
        return given(sitting).inversion.paste(given(sitting).photograph, None if shown is None else shown.image)

    triggers = [*(slider.input for slider in sliders), finished(layers), padding.input]
    inputs = [sitting, layers, padding, *sliders]
    gr.on(triggers, told(change), inputs, outputs, **LIVE)
    reset.click(lambda: [0.0] * len(sliders), None, sliders, **LIVE).then(told(change), inputs, outputs, **LIVE)
    paste.click(told(paste_back), [sitting, outputs[2]], pasted)

    def renew(sitting: Sitting | None, *options: Any) -> Any:
        return (None, NOTHING, None, "") if sitting is None else change(sitting, *options)

    return renew, inputs, outputs


def _direction_slider(widgets: Widgets, name: str) -> gr.Slider:
    """Builds a slider along a direction, with a mark where codes were seen along it."""
    direction, (lowest, highest) = widgets.studio.directions[name], widgets.studio.ranges[name]
    edge = float(int(max(abs(lowest), abs(highest))) + 2)
    ends = [direction.metadata.get(end) for end in ("negative", "positive")]
    label = name if None in ends else f"{name}: {ends[0]} … {ends[1]}"
    left, right = ((end + edge) / (2 * edge) * 100 for end in (lowest, highest))
    with gr.Group():
        slider = gr.Slider(-edge, edge, 0, step=0.1, label=label)
        gr.HTML(
            f'<div class="seen"><i style="left:{left:.1f}%;right:{100 - right:.1f}%"></i></div>'
            f'<div class="seen-text">seen to hold from {lowest:.1f} to {highest:.1f}, counted from the mean</div>',
            padding=True,
            elem_classes=["seen-box"],
        )
    return slider


def drag_tab(widgets: Widgets) -> Renewal:
    """Builds the tab of points and a mask; returns what shows a new photograph with the points."""
    studio, size = widgets.studio, widgets.studio.inverter.generator.resolution
    with gr.Row():
        with gr.Column(scale=2):
            click_on = gr.Image(
                label="Click: a handle, then its target", alt_text="Click here", interactive=False, buttons=[]
            )
            points = gr.Textbox("", label="Points, in pixels: 32,46:32,43; 20,30:20,28", max_lines=3)
            with gr.Accordion("What may change (paint it; everything if there is no paint)", open=False):
                painting = gr.ImageEditor(
                    label="Mask",
                    type="numpy",
                    sources=(),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=60, colors=["#1565ff"], color_mode="fixed"),
                    canvas_size=(SHOWN, SHOWN),
                )
            steps = gr.Slider(1, studio.limits.steps, 40, step=1, label="Steps at most")
            padding = gr.Checkbox(True, label="The padding moves, too")
            with gr.Row():
                start = gr.Button("Drag", variant="primary")
                stop = gr.Button("Stop", variant="stop")
                clear = gr.Button("Clear the points")
        with gr.Column(scale=3):
            outputs = widgets.outputs("Dragged", NOTHING)

    def draw(sitting: Sitting | None, text: str) -> Image.Image | None:
        if sitting is None:
            return None
        return picture(mark_points(sitting.inversion.images[0], *read_points(text), tile=SHOWN)[None])

    def click(sitting: Sitting | None, text: str, event: gr.SelectData) -> tuple[str, Image.Image | None]:
        scale = size / max(SHOWN, size)
        x, y = (min(max(round((at + 0.5) * scale - 0.5, 1), 0.0), size - 1.0) for at in event.index)
        handles, targets = read_points(text)
        text = text.strip() + (":" if len(targets) < len(handles) else "; " if handles else "") + f"{x:g},{y:g}"
        return text, draw(given(sitting), text)

    def go(
        sitting: Sitting | None, text: str, painted: dict[str, Any] | None, steps: float, padding: bool
    ) -> Iterator[Any]:
        layers = (painted or {}).get("layers") or [None]
        for shown in drag_points(studio, given(sitting), text, mask_of(layers[0], size), int(steps), padding):
            moved = mark_points(shown.image[0], shown.handles, read_points(text)[1], tile=SHOWN)
            yield [picture(moved[None]), *present(shown)[1:]]
        yield present(shown)

    seen = [widgets.sitting, points]
    click_on.select(told(click), seen, [points, click_on], **HIDDEN)
    gr.on([finished(points)], told(draw), seen, click_on, **HIDDEN)
    clear.click(lambda: "", None, points, **HIDDEN).then(told(draw), seen, click_on, **HIDDEN)
    running = start.click(told(go), [*seen, painting, steps, padding], outputs, show_progress="minimal")
    stop.click(lambda: None, cancels=[running], queue=False)
    widgets.sitting.change(None, cancels=[running])  # what is dragged is gone

    def renew(sitting: Sitting | None, text: str) -> Any:
        now = None if sitting is None else picture(sitting.inversion.images)
        hint = NOTHING if sitting is None else ""
        return draw(sitting, text), now, hint, None, "", {"background": now, "layers": [], "composite": None}

    return renew, seen, [click_on, *outputs, painting]


def compare_tab(widgets: Widgets) -> None:
    """Builds the tab that shows what padding is for."""
    gr.Markdown(
        "The photograph of the tab Invert: from latents alone, with padding, and with padding and more steps, which "
        "takes longest."
    )
    steps = gr.Slider(ROUND, 100, 60, step=ROUND, label="Steps of refinement of the first two")
    start = gr.Button("Compare", variant="primary")
    gallery = gr.Gallery(label="Side by side", columns=4, elem_classes=["compared"])
    table = gr.Markdown()

    def show(sitting: Sitting | None, steps: float) -> Iterator[Any]:
        target = given(sitting).target
        for rows in compare(widgets.studio, given(sitting), int(steps)):
            tiles = [(picture(target), "the photograph")]
            tiles += [(picture(image), label) for label, image, _ in rows]
            names = list(rows[0][2])
            lines = [f"| | {' | '.join(names)} |", f"|{'---|' * (len(names) + 1)}"]
            lines += [f"| {label} | {' | '.join(f'{found[n]:.4f}' for n in names)} |" for label, _, found in rows]
            yield tiles, "\n".join(lines)

    running = start.click(told(show), [widgets.sitting, steps], [gallery, table], show_progress="minimal")
    gr.on(widgets.renewed, lambda: (None, None), None, [gallery, table], cancels=[running], **HIDDEN)
