"""The page of the studio: gradio's widgets around the functions of this package.

A visitor's things are in a ``gr.State``, which belongs to one browser window; the page itself keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr
from PIL import Image

from padinv.app.edits import (
    Shown,
    blend_photographs,
    compare,
    drag_points,
    edit,
    inverted,
    mask_of,
    read_points,
    sample,
    transfer_edit,
)
from padinv.app.studio import ROUND, SHOWN, Sitting, Studio, error_map, located, picture
from padinv.exceptions import ConfigError, DataError, PadInvError
from padinv.pictures import mark_points

Renewal: TypeAlias = tuple[Callable[..., Any], list[Any], list[Any]]
"""What shows a new photograph in a tab: a function, its inputs and its outputs."""

THEME = gr.themes.Default(
    primary_hue="blue",
    font=["system-ui", "sans-serif"],  # nothing is fetched
    font_mono=["ui-monospace", "monospace"],
).set(  # text stands out from these by 4.5 and more
    color_accent="*primary_600",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_cancel_background_fill="*neutral_700",
    button_cancel_background_fill_hover="*neutral_800",
    button_cancel_text_color="white",
)
CSS = """
.gradio-container { max-width: 1280px !important; width: 100%; margin: 0 auto !important; }
.fill img { width: 100%; height: 100%; object-fit: contain; }
.examples .grid-container {
  grid-template-columns: repeat(6, minmax(0, 1fr)) !important;
  grid-template-rows: auto !important;
  grid-auto-rows: auto !important;
}
.examples .thumbnail-item { aspect-ratio: 1; height: auto !important; }
[data-testid="status-tracker"]:has(.error) { display: none !important; } /* a sentence says it, once */
.label-wrap > span:first-child { text-align: start; }
.compared .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; }
.seen-box { background: var(--block-background-fill) !important; }
.seen { position: relative; height: 6px; border-radius: 3px; background: var(--border-color-primary); }
.seen i { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: #16a34a; }
.seen-text { font-size: var(--text-sm); color: var(--body-text-color); margin: 2px 0 6px; }
"""
STILL: dict[str, Any] = {"interactive": False, "buttons": ["download", "fullscreen"], "format": "png"}
"""A picture that is only looked at."""

FIRST = "Drop a photograph of a face, paste one, or click on one of the portraits."
NOTHING = "Nothing here yet: the tab Invert takes a photograph."
NO_PHOTOGRAPH = "There is no photograph yet: open the tab Invert, and drop one or take an example."


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows padinv's own errors to the visitor as they are, in one sentence; the server goes on after any."""
    if isgeneratorfunction(function):

        @wraps(function)
        def steps(*args: Any) -> Iterator[Any]:
            try:
                yield from function(*args)
            except PadInvError as error:
                raise gr.Error(str(error), title="That cannot be done", print_exception=False) from error

        return steps

    @wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except PadInvError as error:
            raise gr.Error(str(error), title="That cannot be done", print_exception=False) from error

    return call


def upload(label: str, **options: Any) -> gr.Image:
    """A place for a photograph, whose value is the path of the file as it came, so that padinv alone decodes it."""
    image = gr.Image(
        label=label,
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        buttons=[],
        elem_classes=["fill"],
        **options,
    )
    image.preprocess = lambda payload: None if payload is None else payload.path
    return image


def present(shown: Shown) -> tuple[Image.Image, str, Shown, str]:
    """What every tab shows: the picture, remarks, and for taking along the result and its Python."""
    return picture(shown.image), " ".join(shown.remarks), shown, shown.script


class Page:
    """Builds the page, a method for each tab.

    Args:
        studio: with the model.
        folder: for files that visitors take along, and for the examples.
    """

    def __init__(self, studio: Studio, folder: Path) -> None:
        self.studio, self.folder = studio, folder
        self.examples = studio.examples(folder)
        self.size = studio.inverter.generator.resolution

    def build(self) -> gr.Blocks:
        """The whole page."""
        with gr.Blocks(title="padinv studio", analytics_enabled=False, delete_cache=(300, 3600)) as page:
            gr.Markdown(
                f"# padinv studio\nA photograph becomes a code of latents and padding, and the code a picture of "
                f"{self.size} px. Model: {self.studio.model}. What you give stays on this machine, and in this window."
            )
            self.sitting = gr.State(None)
            with gr.Tab("Invert"):
                arrived = self.invert()
            with gr.Tab("Edit"):
                edited = self.edit()
            with gr.Tab("Drag"):
                dragged = self.drag()
            with gr.Tab("Blend"):
                self.blend()
            with gr.Tab("Transfer"):
                self.transfer()
            with gr.Tab("Sample"):
                function, inputs, outputs = self.sample()
                page.load(told(function), inputs, outputs, show_progress="hidden")
            with gr.Tab("Compare"):
                self.compare()
            for event in arrived:
                for function, inputs, outputs in (edited, dragged):
                    event.then(told(function), inputs, outputs, show_progress="hidden")
        page.queue(max_size=self.studio.limits.waiting, api_open=False, default_concurrency_limit=2)
        return page

    def outputs(self, label: str = "Result", hint: str = "", **options: Any) -> list[Any]:
        """The picture, remarks, at first a hint, and what to take along."""
        image = gr.Image(label=label, alt_text=label, elem_classes=["fill"] if options else None, **STILL, **options)
        said = gr.Markdown(hint)
        return [image, said, *self.take_along()]

    def take_along(self) -> list[Any]:
        """The result, and the Python that makes it."""
        shown = gr.State(None)
        with gr.Accordion("Take it with you: image, code, and Python", open=False):
            script = gr.Code(language="python", label="This Python makes the same picture", interactive=False)
            button = gr.Button("Make files")
            files = gr.File(label="Files", file_count="multiple", interactive=False)

        def write(shown: Shown | None) -> list[str]:
            if shown is None:
                raise DataError("There is no picture yet.")
            return [str(path) for path in shown.write(self.studio, self.folder)]

        button.click(told(write), shown, files)
        return [shown, script]

    def example_gallery(self, image: gr.Image) -> None:
        """Portraits that go to an upload when they are chosen."""
        paths = [str(path) for path in self.examples]
        gallery = gr.Gallery(
            paths,
            label="Or take one of these",
            show_label=False,
            columns=6,
            height=None,
            elem_classes=["examples", "compared"],
            allow_preview=False,
            object_fit="contain",
            interactive=False,
            buttons=[],
        )

        def choose(event: gr.SelectData) -> str:
            return paths[int(event.index)]

        gallery.select(choose, None, image, show_progress="hidden")

    def readable(self, path: str | None) -> Any:
        """Leaves a photograph where it is, and takes away what is none, which a browser shows as a broken picture."""
        try:
            self.studio.read(path)
        except DataError:
            return None
        return gr.skip()

    def invert(self) -> list[Any]:
        """A photograph, its reconstruction, and how they differ; returns the events that bring a new one."""
        with gr.Row():
            with gr.Column(scale=2):
                photograph = upload("Photograph", height=320)
                self.example_gallery(photograph)
                align = gr.Checkbox(False, label="Find the face, and turn it upright")
                with gr.Group():
                    steps = gr.Slider(ROUND, self.studio.limits.steps, 100, step=ROUND, label="Steps of refinement")
                    with gr.Row():
                        refine = gr.Button("Refine", variant="primary")
                        stop = gr.Button("Stop", variant="stop")
            with gr.Column(scale=3):
                slider = gr.ImageSlider(label="Photograph and reconstruction", type="pil", interactive=False)
                said = gr.Markdown(FIRST)
                with gr.Row():
                    place = gr.Image(label="What was taken", alt_text="The photograph with a frame", **STILL)
                    errors = gr.Image(label="Error", alt_text="Error map", **STILL)
                taken = self.take_along()
        outputs = [self.sitting, slider, said, place, errors, *taken]

        def show(sitting: Sitting, text: str = "") -> list[Any]:
            heat, most = error_map(sitting)
            numbers = self.studio.measure(sitting.inversion.images, sitting.target)
            facts = [f"**{name}** {value:.4f}" for name, value in numbers.items()]
            text = f"{text} {' · '.join(facts)} · largest error {most:.2f} of 2".strip()
            pair = (picture(sitting.target), picture(sitting.inversion.images))
            shown = inverted(self.studio, sitting)
            return [sitting, pair, text, located(sitting), heat, shown, shown.script]

        def begin(path: str | None, align: bool) -> list[Any]:
            if path is None:
                return [FIRST if output is said else None for output in outputs]
            return show(self.studio.invert(self.studio.read(path), align))

        def go_on(sitting: Sitting | None, steps: float) -> Iterator[list[Any]]:
            if sitting is None:
                raise DataError(NO_PHOTOGRAPH)
            for done, each in enumerate(self.studio.refined(sitting, int(steps)), start=1):
                yield show(each, f"Step {done * ROUND} of {int(steps)}:")

        photographs = [photograph.change, align.change]
        arrived = gr.on(photographs, told(begin), [photograph, align], outputs)
        arrived.failure(self.readable, photograph, photograph, show_progress="hidden")
        refined = refine.click(told(go_on), [self.sitting, steps], outputs, show_progress="minimal")
        stopped = stop.click(lambda: None, cancels=[refined], queue=False)
        return [arrived, refined, stopped]

    def edit(self) -> Renewal:
        """Sliders for directions; returns what edits a new photograph as they stand."""
        studio = self.studio
        with gr.Row():
            with gr.Column(scale=2):
                sliders = [self.direction_slider(name) for name in studio.directions]
                layers = gr.Textbox(
                    "", label="Latents that move, such as 0-5 (empty: those of the direction)", max_lines=1
                )
                padding = gr.Checkbox(True, label="The padding moves, too")
                reset = gr.Button("Back to 0")
            with gr.Column(scale=3):
                outputs = self.outputs("Edited", NOTHING)
                paste = gr.Button("Paste back into the photograph")
                pasted = gr.Image(label="Pasted back", alt_text="The photograph with the edit", **STILL)

        def change(sitting: Sitting | None, layers: str, padding: bool, *strengths: float) -> Any:
            if sitting is None:
                raise DataError(NO_PHOTOGRAPH)
            return present(edit(studio, sitting, dict(zip(studio.directions, strengths, strict=True)), layers, padding))

        def paste_back(sitting: Sitting | None, shown: Shown | None) -> Image.Image:
            if sitting is None:
                raise DataError(NO_PHOTOGRAPH)
            return sitting.inversion.paste(sitting.photograph, None if shown is None else shown.image)

        triggers = [*(slider.input for slider in sliders), layers.submit, layers.blur, padding.input]
        inputs = [self.sitting, layers, padding, *sliders]
        live: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
        gr.on(triggers, told(change), inputs, outputs, **live)
        reset.click(lambda: [0.0] * len(sliders), None, sliders, **live).then(told(change), inputs, outputs, **live)
        paste.click(told(paste_back), [self.sitting, outputs[2]], pasted)

        def renew(sitting: Sitting | None, *given: Any) -> Any:
            return (None, NOTHING, None, "") if sitting is None else change(sitting, *given)

        return renew, inputs, outputs

    def direction_slider(self, name: str) -> gr.Slider:
        """A slider along a direction, with a mark where codes were seen along it."""
        direction, (lowest, highest) = self.studio.directions[name], self.studio.ranges[name]
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

    def drag(self) -> Renewal:
        """Points and a mask; returns what shows a new photograph with the points."""
        studio = self.studio
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
                outputs = self.outputs("Dragged", NOTHING)

        def draw(sitting: Sitting | None, text: str) -> Image.Image | None:
            if sitting is None:
                return None
            return picture(mark_points(sitting.inversion.images[0], *read_points(text), tile=SHOWN)[None])

        def click(sitting: Sitting | None, text: str, event: gr.SelectData) -> tuple[str, Image.Image | None]:
            if sitting is None:
                raise DataError(NO_PHOTOGRAPH)
            scale = self.size / max(SHOWN, self.size)
            x, y = (min(max(round((at + 0.5) * scale - 0.5, 1), 0.0), self.size - 1.0) for at in event.index)
            handles, targets = read_points(text)
            text = text.strip() + (":" if len(targets) < len(handles) else "; " if handles else "") + f"{x:g},{y:g}"
            return text, draw(sitting, text)

        def go(
            sitting: Sitting | None, text: str, painted: dict[str, Any] | None, steps: float, padding: bool
        ) -> Iterator[Any]:
            if sitting is None:
                raise DataError(NO_PHOTOGRAPH)
            layers = (painted or {}).get("layers") or [None]
            for shown in drag_points(studio, sitting, text, mask_of(layers[0], self.size), int(steps), padding):
                moved = mark_points(shown.image[0], shown.handles, read_points(text)[1], tile=SHOWN)
                yield [picture(moved[None]), *present(shown)[1:]]
            yield present(shown)

        hidden: dict[str, Any] = {"show_progress": "hidden"}
        click_on.select(told(click), [self.sitting, points], [points, click_on], **hidden)
        points.blur(told(draw), [self.sitting, points], click_on, **hidden)
        points.submit(told(draw), [self.sitting, points], click_on, **hidden)
        clear.click(lambda: "", None, points, **hidden).then(told(draw), [self.sitting, points], click_on, **hidden)
        running = start.click(
            told(go), [self.sitting, points, painting, steps, padding], outputs, show_progress="minimal"
        )
        stop.click(lambda: None, cancels=[running], queue=False)

        def renew(sitting: Sitting | None, text: str) -> Any:
            now = None if sitting is None else picture(sitting.inversion.images)
            return (
                draw(sitting, text),
                now,
                NOTHING if sitting is None else "",
                None,
                "",
                {"background": now, "layers": [], "composite": None},
            )

        return renew, [self.sitting, points], [click_on, *outputs, painting]

    def pick(self, names: Sequence[str]) -> tuple[list[gr.State], list[Any]]:
        """A place for each of several photographs; returns their sittings, and the events that bring new ones."""
        states, arrivals = [], []
        for name in names:
            with gr.Column(min_width=220):
                image = upload(name.capitalize(), height=260)
                self.example_gallery(image)
                state = gr.State(None)

                def arrive(path: str | None, name: str = name) -> Sitting | None:
                    return None if path is None else self.studio.invert(self.studio.read(path), name=name)

                arrivals.append(image.change(told(arrive), image, state))
                arrivals[-1].failure(self.readable, image, image, show_progress="hidden")
                states.append(state)
        return states, arrivals

    def several(
        self, names: Sequence[str], function: Callable[..., Shown], options: Callable[[], Sequence[Any]]
    ) -> None:
        """A tab with several photographs: they and the result side by side, below them what can be chosen.

        Whenever a photograph or an option changes, the result does.
        """
        with gr.Row():
            states, arrivals = self.pick(names)
            with gr.Column(min_width=220):
                outputs = self.outputs(height=260)
        chosen = options()

        def show(*given: Any) -> Any:
            sittings, values = given[: len(names)], given[len(names) :]
            missing = [name for name, sitting in zip(names, sittings, strict=True) if sitting is None]
            if missing:
                return None, f"Still to give: {' and '.join(missing)}.", None, ""
            return present(function(self.studio, *sittings, *values))

        inputs = [*states, *chosen]
        live: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
        for event in arrivals:
            event.then(told(show), inputs, outputs, **live)
        changes = [option.blur if isinstance(option, gr.Textbox) else option.input for option in chosen]
        gr.on(changes, told(show), inputs, outputs, **live)

    def blend(self) -> None:
        """The padding of one photograph, ring by ring, and the latents of another."""
        gr.Markdown("The padding of the first photograph, which carries layout, and the latents of the second.")
        rings = self.studio.rings

        def options() -> list[Any]:
            with gr.Row():
                chosen = gr.CheckboxGroup(
                    [(f"{ring} px", ring) for ring in rings], value=rings, label="Rings that are the contour's"
                )
                const = gr.Checkbox(True, label="The constant is the contour's, too")
                layers = gr.Textbox("", label="Latents that are the details', such as 4- (empty: all)", max_lines=1)
            return [chosen, const, layers]

        self.several(("contour", "details"), blend_photographs, options)

    def transfer(self) -> None:
        """What was done between two photographs, done to a third."""
        gr.Markdown("What was done between the first two photographs is done to the third.")

        def options() -> list[Any]:
            with gr.Row():
                strength = gr.Slider(-2, 3, 1, step=0.1, label="Strength")
                padding = gr.Slider(-2, 3, 1, step=0.1, label="Strength of the padding")
            return [strength, padding]

        self.several(("before", "after", "target"), transfer_edit, options)

    def sample(self) -> Renewal:
        """An image out of a number; returns what makes the first one."""
        with gr.Row():
            with gr.Column(scale=2):
                seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31)
                psi = gr.Slider(0, 1.2, 0.7, step=0.05, label="Truncation: 0 is the mean face")
                mixed = gr.Checkbox(False, label="Mix with another")
                other = gr.Number(2, label="Seed of the other", precision=0, minimum=0, maximum=2**31)
                layers = gr.Textbox("4-", label="Latents that are the other's", max_lines=1)
                following = gr.Button("The next one", variant="primary")
            with gr.Column(scale=3):
                outputs = self.outputs("Sample")

        def show(seed: float | None, psi: float, mixed: bool, other: float | None, layers: str) -> Any:
            if seed is None or (mixed and other is None):
                raise ConfigError("A seed is a whole number from 0 on.")
            return present(sample(self.studio, int(seed), psi, int(other or 0) if mixed else None, layers))

        inputs = [seed, psi, mixed, other, layers]
        live: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
        gr.on([seed.input, psi.input, mixed.input, other.input, layers.blur], told(show), inputs, outputs, **live)
        following.click(lambda seed: (seed or 0) + 1, seed, seed, **live).then(told(show), inputs, outputs, **live)
        return show, inputs, outputs

    def compare(self) -> None:
        """What padding is for."""
        gr.Markdown(
            "The photograph of the tab Invert from latents alone, with padding, and as well as it can be had. "
            "The last one takes a while."
        )
        steps = gr.Slider(ROUND, 100, 60, step=ROUND, label="Steps of refinement of the first two")
        start = gr.Button("Compare", variant="primary")
        gallery = gr.Gallery(label="Side by side", columns=4, elem_classes=["compared"])
        table = gr.Markdown()

        def show(sitting: Sitting | None, steps: float) -> Iterator[Any]:
            if sitting is None:
                raise DataError(NO_PHOTOGRAPH)
            for rows in compare(self.studio, sitting, int(steps)):
                tiles = [(picture(sitting.target), "the photograph")]
                tiles += [(picture(image), label) for label, image, _ in rows]
                names = list(rows[0][2])
                lines = [f"| | {' | '.join(names)} |", f"|{'---|' * (len(names) + 1)}"]
                lines += [f"| {label} | {' | '.join(f'{found[n]:.4f}' for n in names)} |" for label, _, found in rows]
                yield tiles, "\n".join(lines)

        start.click(told(show), [self.sitting, steps], [gallery, table], show_progress="minimal")
