"""Tasks on the codes of photographs; each command on photographs is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from padinv.bulk.options import BulkOptions
from padinv.options import Command, OptionParser, add_options, from_namespace, is_positional, option, options_of

if TYPE_CHECKING:  # a command's help needs no torch
    from torch import Tensor

    from padinv.bulk.running import Report
    from padinv.codes import InversionCode
    from padinv.networks import Generator

PHOTOGRAPHS = (
    "file, saved code (.safetensors, or latents: .pt, .npy, .npz), folder, pattern such as 'photos/*.jpg', zip file or "
    "bundled data set"
)


def reference() -> Any:
    """A field that is one photograph, or saved code, whose code is given to :meth:`Task.prepare`."""
    return option(help="file, or saved code (.safetensors, or latents: .pt, .npy, .npz)")


class Task(Command):
    """Leaves codes as they are. A subclass does something to them, and is a command of its own by :meth:`main`.

    A subclass with options is a dataclass: its fields are the options (:func:`padinv.options.option`), its docstring
    is their help, and the results depend on their values.

    Attributes:
        name: results of the same name and settings count as done; the class's name if not given.
        metavar: what the help calls the photographs.
        output_required: whether photographs and a folder for the results must be given.
    """

    name: ClassVar[str] = "task"
    metavar: ClassVar[str] = "PHOTO"
    output_required: ClassVar[bool] = True

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.name = vars(cls).get("name", cls.__name__.lower())

    @classmethod
    def parser(cls) -> OptionParser:
        """Reads a command line: the task's options, the photographs, and the options that all tasks share."""
        parser = super().parser()
        nargs = "+" if cls.output_required else "*"
        parser.add_argument("photographs", metavar=cls.metavar, nargs=nargs, help=PHOTOGRAPHS)
        add_options(parser, BulkOptions, output={"required": cls.output_required})
        return parser

    @classmethod
    def main(cls, args: Sequence[str]) -> int:
        """Does the task to the photographs that a command line names.

        Args:
            args: the words behind the command.

        Returns:
            0, or 1 if a photograph failed.

        Raises:
            PadInvError: if nothing could be done at all.
        """
        namespace = cls.parser().parse_args(args)
        task, options = from_namespace(cls, namespace), from_namespace(BulkOptions, namespace)

        from padinv.bulk.running import run  # imports torch and Lightning, so that misspelt options are told first

        return run(task, namespace.photographs, options).exit_code

    @property
    def settings(self) -> dict[str, Any]:
        """The values, as JSON, that results depend on; results of other settings do not count as done."""
        own = options_of(type(self))
        return {each.name: getattr(self, each.name) for each in own if not is_positional(each)}

    @property
    def references(self) -> list[str]:
        """Photographs or saved codes that are inverted first, on each process, and given to :meth:`prepare`."""
        return [getattr(self, each.name) for each in options_of(type(self)) if is_positional(each)]

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Called first of all, with what the user named.

        Raises:
            PadInvError: if the task cannot be done.
        """

    def check(self, generator: Generator) -> list[str]:
        """Called before anything is encoded.

        Returns:
            Sentences that the user should read first.

        Raises:
            PadInvError: if the task cannot be done with this generator.
        """
        return []

    def prepare(self, generator: Generator, references: Sequence[InversionCode]) -> None:
        """Called once, when the networks are on their device, with a code (of one image) for each reference.

        Raises:
            PadInvError: if the task cannot be done with this generator or these codes.
        """

    def apply(self, code: InversionCode) -> InversionCode:
        """Turns the code of B photographs into that of B results."""
        return code

    def draw(self, generator: Generator, code: InversionCode, row: Sequence[Tensor]) -> Tensor:
        """Draws a result beside the images that it was made from.

        Args:
            generator: the generator.
            code: of the result, of one image.
            row: images (3, R, R) in [-1, 1]: the photograph, unless a saved code was given; its reconstruction; the
                result, unless it is that reconstruction.

        Returns:
            (3, H, W) in [0, 1].
        """
        import torch

        from padinv.pictures import contact_sheet

        return contact_sheet([torch.stack(list(row))])

    def finish(self, report: Report) -> None:
        """Called in the first process when everything is done, before another command may write into the folder."""
