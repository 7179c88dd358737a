"""What the tabs of the studio are made of, and how an error is told.

A visitor's things are in a ``gr.State``, which belongs to one browser window; the widgets themselves keep nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr
from PIL import Image

from padinv.app.edits import Shown
from padinv.app.studio import Sitting, Studio, picture
from padinv.exceptions import DataError, PadInvError

Renewal: TypeAlias = tuple[Callable[..., Any], list[Any], list[Any]]
"""What shows a new photograph in a tab: a function, its inputs and its outputs."""

STILL: dict[str, Any] = {"interactive": False, "buttons": ["download", "fullscreen"], "format": "png"}
"""A picture that is only looked at."""

HIDDEN: dict[str, Any] = {"show_progress": "hidden"}
LIVE: dict[str, Any] = {**HIDDEN, "trigger_mode": "always_last"}
"""Events that may come faster than they are answered: of those that wait, only the last one counts."""

NOTHING = "Nothing here yet: the tab Invert takes a photograph."


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    try:
        yield
    except PadInvError as error:
        raise gr.Error(str(error), print_exception=False) from error


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows padinv's own errors to the visitor as they are, in one sentence; the server goes on after any."""
    if not isgeneratorfunction(function):
        return _in_a_sentence()(function)

    @wraps(function)
    def steps(*args: Any) -> Iterator[Any]:
        with _in_a_sentence():
            yield from function(*args)

    return steps


def finished(text: gr.Textbox) -> Any:
    """The event of a text that is written: its reader goes elsewhere, or presses Enter, which then leaves it, too.

    Two events would tell each error twice.
    """
    text.submit(None, js="() => { document.activeElement.blur(); return []; }")
    return text.blur


def given(sitting: Sitting | None) -> Sitting:
    """Gives the visitor's photograph.

    Raises:
        DataError: if there is none.
    """
    if sitting is None:
        raise DataError("There is no photograph yet: open the tab Invert, and drop one or take an example.")
    return sitting


def present(shown: Shown) -> tuple[Image.Image, str, Shown, str]:
    """Lists what every tab shows: the picture, remarks, and for taking along the result and its Python."""
    return picture(shown.image), " ".join(shown.remarks), shown, shown.script


class Widgets:
    """Makes the parts that several tabs have.

    Args:
        studio: has the model.
        folder: the place for files that visitors take along, and for the examples.

    Attributes:
        sitting: the photograph of the tab Invert, which Edit, Drag and Compare use, too.
        renewed: what brings another photograph, or another part of it; the tab Invert fills it in.
    """

    def __init__(self, studio: Studio, folder: Path) -> None:
        self.studio, self.folder = studio, folder
        self.examples = [str(path) for path in studio.examples(folder)]
        self.sitting = gr.State(None)
        self.renewed: list[Any] = []

    def upload(self, label: str, height: int) -> gr.Image:
        """Makes a place for a photograph, and below it portraits to click on.

        The value is the path of the file as it came, so that padinv alone decodes it.
        """
        image = gr.Image(
            label=label,
            type="filepath",
            sources=["upload", "webcam", "clipboard"],
            buttons=[],
            elem_classes=["fill"],
            height=height,
        )
        image.preprocess = lambda payload: None if payload is None else payload.path
        gallery = gr.Gallery(
            self.examples,
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
            return self.examples[int(event.index)]

        gallery.select(choose, None, image, trigger_mode="multiple", **HIDDEN)  # or a quick second click is lost
        return image

    def readable(self, path: str | None) -> Any:
        """Leaves a photograph where it is, and takes away what is none, which a browser shows as a broken picture."""
        try:
            self.studio.read(path)
        except DataError:
            return None
        return gr.skip()

    def outputs(self, label: str = "Result", hint: str = "", **options: Any) -> list[Any]:
        """Makes the picture, remarks, at first a hint, and what to take along."""
        image = gr.Image(label=label, alt_text=label, elem_classes=["fill"] if options else None, **STILL, **options)
        said = gr.Markdown(hint)
        return [image, said, *self.take_along()]

    def take_along(self) -> list[Any]:
        """Makes what hands out the result, and the Python that makes it."""
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
