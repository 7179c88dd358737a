"""The page of the studio: how it looks, and its tabs, gradio's widgets around the functions of this package."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from padinv.app.combinations import blend_tab, sample_tab, transfer_tab
from padinv.app.photograph import compare_tab, drag_tab, edit_tab, invert_tab
from padinv.app.studio import Studio
from padinv.app.widgets import HIDDEN, Widgets, told

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
.min_value, .max_value, .or { color: var(--body-text-color) !important; } /* gradio's are too pale to read */
.compared .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; }
.seen-box { background: var(--block-background-fill) !important; }
.seen { position: relative; height: 6px; margin: 0 29px; border-radius: 3px; background: var(--border-color-primary); }
.seen i { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: #16a34a; }
.seen-text { font-size: var(--text-sm); color: var(--body-text-color); margin: 2px 0 6px; }
"""


def build(studio: Studio, folder: Path) -> gr.Blocks:
    """Builds the whole page.

    Args:
        studio: has the model.
        folder: the place for files that visitors take along, and for the examples.
    """
    with gr.Blocks(title="padinv studio", analytics_enabled=False, delete_cache=(300, 3600)) as page:
        gr.Markdown(
            f"# padinv studio\nA photograph becomes a code of latents and padding, and the code a picture of "
            f"{studio.inverter.generator.resolution} px. Model: {studio.model}. What you give stays on this machine, "
            "and in this window."
        )
        widgets = Widgets(studio, folder)
        with gr.Tab("Invert"):
            arrivals = invert_tab(widgets)
        with gr.Tab("Edit"):
            edited = edit_tab(widgets)
        with gr.Tab("Drag"):
            dragged = drag_tab(widgets)
        with gr.Tab("Blend"):
            blend_tab(widgets)
        with gr.Tab("Transfer"):
            transfer_tab(widgets)
        with gr.Tab("Sample"):
            function, inputs, outputs = sample_tab(widgets)
            page.load(told(function), inputs, outputs, **HIDDEN)
        with gr.Tab("Compare"):
            compare_tab(widgets)
        for event in arrivals:
            for function, inputs, outputs in (edited, dragged):
                event.then(told(function), inputs, outputs, **HIDDEN)
    page.queue(max_size=studio.limits.waiting, api_open=False, default_concurrency_limit=2)
    return page
