"""The page in a real browser against the real server: from sign-in to a playing video."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.conftest import StartServer
from tests.page.browser import Visitor
from tests.page.conftest import Visit
from tests.server import Server

SLOW = {"SORA_SIMULATOR_SECONDS": "120"}
IS_PLAYING = "video => !video.paused && video.readyState >= 3 && video.currentTime > 0"


def plays(visitor: Visitor, video: Locator) -> None:
    """Returns when the picture moves."""
    visitor.page.wait_for_function(IS_PLAYING, arg=video.element_handle())


def test_from_sign_in_to_a_playing_video(visit: Visit, start_server: StartServer) -> None:
    """A prompt becomes a card with a progress bar, and that becomes a video that plays under the pointer."""
    visitor = visit(start_server(SORA_SIMULATOR_SECONDS="3")).sign_in()
    card = visitor.generate("A kite over the dunes")
    bar = card.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "0")
    expect(visitor.page).to_have_title("0% · sora-ws")
    video = card.locator("video")
    expect(video).to_have_attribute("preload", "metadata")
    expect(bar).to_be_hidden()
    expect(visitor.page).to_have_title("sora-ws")
    assert video.get_attribute("poster")
    visitor.page.wait_for_function("video => video.readyState >= 1", arg=video.element_handle())
    card.hover()
    plays(visitor, video)


def test_a_card_keeps_its_shape(visit: Visit, start_server: StartServer) -> None:
    """The card of a portrait video has the video's aspect from the first moment to the last."""
    visitor = visit(start_server(SORA_SIMULATOR_SECONDS="2")).sign_in()
    visitor.page.get_by_label("Size").select_option("720x1280")
    card = visitor.generate("A tall tower")
    before = card.bounding_box()
    expect(card.locator("video")).to_be_visible()
    assert card.bounding_box() == before
    face = card.locator(".face").bounding_box()
    assert face is not None
    assert face["width"] / face["height"] == pytest.approx(720 / 1280, rel=0.01)


def test_over_a_kill_of_the_server(visit: Visit, start_server: StartServer) -> None:
    """A server killed in the middle is missed for a while, and the video comes without a reload."""
    server = start_server(SORA_SIMULATOR_SECONDS="6")
    visitor = visit(server).sign_in()
    visitor.expected += ["WebSocket connection to", "ERR_CONNECTION_REFUSED"]
    card = visitor.generate("A bridge in the fog")
    expect(card.get_by_text("%")).to_be_visible()
    server.kill()
    line = visitor.page.locator("#line")
    expect(line).to_have_text("Reconnecting")
    expect(card.get_by_role("progressbar")).to_be_visible()
    server.start()
    visitor.is_connected()
    card.hover()
    plays(visitor, card.locator("video"))


def test_the_server_is_missed_at_a_create(visit: Visit, start_server: StartServer) -> None:
    """Without the server a prompt is kept with a sentence that says so, and goes through once it is back."""
    server = start_server()
    visitor = visit(server).sign_in()
    visitor.expected += ["WebSocket connection to", "ERR_CONNECTION_REFUSED"]
    server.kill()
    prompt = visitor.page.get_by_label("Prompt")
    prompt.fill("Rain on a tin roof")
    visitor.button("Generate").click()
    expect(visitor.page.get_by_role("alert").filter(has_text="can’t be reached")).to_be_visible()
    expect(prompt).to_have_value("Rain on a tin roof")
    server.start()
    visitor.button("Generate").click()
    expect(visitor.card("Rain on a tin roof").locator("video")).to_be_visible()
    expect(prompt).to_have_value("")


def test_cancel_and_retry(visit: Visit, start_server: StartServer) -> None:
    """A cancelled task says so and can be tried again with its prompt kept; the new one stands before it."""
    visitor = visit(start_server(**SLOW)).sign_in()
    card = visitor.generate("Snow on a pine")
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("Cancelled")).to_be_visible()
    expect(card.get_by_role("progressbar")).to_be_hidden()
    card.get_by_role("button", name="Retry").click()
    cards = visitor.page.get_by_role("listitem").filter(has_text="Snow on a pine")
    expect(cards).to_have_count(2)
    expect(cards.first.get_by_role("progressbar")).to_be_visible()
    expect(cards.last.get_by_text("Cancelled")).to_be_visible()


def test_a_failure_says_why(visit: Visit, server: Server) -> None:
    """A failed task shows its reason in a sentence, whether trying again can help, and Retry."""
    visitor = visit(server).sign_in()
    card = visitor.generate("A dog [fail]")
    expect(card.get_by_text("Failed")).to_be_visible()
    expect(card.get_by_text("Trying again may help.")).to_be_visible()
    expect(card.get_by_role("button", name="Retry")).to_be_visible()
    blocked = visitor.generate("A dog [blocked]")
    expect(blocked.get_by_text("Failed")).to_be_visible()
    expect(blocked.get_by_text("won’t help")).to_be_visible()


def test_delete_with_undo(visit: Visit, server: Server) -> None:
    """A deleted card is gone at once, comes back by Undo, and is deleted on the server after five seconds."""
    visitor = visit(server).sign_in()
    card = visitor.generate("A cup of tea")
    expect(card.locator("video")).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    visitor.button("Undo").click()
    expect(card.locator("video")).to_be_visible()
    with visitor.page.expect_response(lambda response: response.request.method == "DELETE") as deletion:
        card.get_by_role("button", name="Delete").click()
    assert deletion.value.status == 204
    expect(card).to_have_count(0)
    visitor.page.reload()
    expect(visitor.page.get_by_text("Start with one of these")).to_be_visible()


def test_a_deletion_outlives_the_sign_out(visit: Visit, server: Server) -> None:
    """Who deletes and signs out within the five seconds has meant it."""
    visitor = visit(server).sign_in()
    card = visitor.generate("A lost glove")
    expect(card.locator("video")).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    with visitor.page.expect_response(lambda response: response.request.method == "DELETE") as deletion:
        visitor.button("Sign out").click()
    assert deletion.value.status == 204


def test_download(visit: Visit, server: Server, tmp_path: Path) -> None:
    """Download saves the video as a file named by its task."""
    visitor = visit(server).sign_in()
    card = visitor.generate("A waterfall")
    with visitor.page.expect_download() as download:
        card.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.startswith("video_")
    assert download.value.suggested_filename.endswith(".mp4")
    file = tmp_path / "video.mp4"
    download.value.save_as(file)
    assert file.read_bytes()[4:8] == b"ftyp"


def test_the_detail(visit: Visit, server: Server) -> None:
    """A card opens into a dialog with a player, the facts and the deeds; Escape closes it."""
    visitor = visit(server).sign_in()
    card = visitor.generate("A lighthouse at night")
    expect(card.locator("video")).to_be_visible()
    card.get_by_role("button", name="A lighthouse at night").click()
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog.locator("video[controls]")).to_be_visible()
    for name, fact in {"Model": "sora-2", "Size": "1280×720", "Length": "8 s"}.items():
        expect(dialog.locator(f"dt:text-is('{name}') + dd")).to_have_text(fact)
    expect(dialog.get_by_role("link", name="Download")).to_be_visible()
    visitor.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    card.get_by_role("button", name="A lighthouse at night").click()
    dialog.get_by_role("button", name="Run again with changes").click()
    expect(visitor.page.get_by_label("Prompt")).to_have_value("A lighthouse at night")


def test_copy(visit: Visit, server: Server) -> None:
    """Copy puts the whole prompt on the clipboard and says so above the dialog."""
    visitor = visit(server, permissions=["clipboard-read", "clipboard-write"]).sign_in()
    prompt = "A very long story. " * 30
    visitor.page.get_by_label("Prompt").fill(prompt)
    visitor.button("Generate").click()
    visitor.card("A very long story.").get_by_role("button", name="A very long story.").click()
    visitor.page.get_by_role("dialog").get_by_role("button", name="Copy").click()
    note = visitor.page.get_by_text("Copied")
    expect(note).to_be_visible()
    assert note.evaluate("note => note.closest(':popover-open') !== null")
    assert visitor.page.evaluate("navigator.clipboard.readText()") == prompt


def test_the_detail_follows_a_live_task(visit: Visit, start_server: StartServer) -> None:
    """A dialog that is open while its task ends turns into the player."""
    visitor = visit(start_server(SORA_SIMULATOR_SECONDS="3")).sign_in()
    visitor.generate("A slow river").get_by_role("button", name="A slow river").click()
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog.get_by_role("progressbar")).to_be_visible()
    expect(dialog.locator("video[controls]")).to_be_visible()


def test_a_task_from_elsewhere_appears(visit: Visit, start_server: StartServer) -> None:
    """What another client creates, cancels and deletes is seen without a reload."""
    server = start_server(**SLOW)
    visitor = visit(server).sign_in()
    token = server.sign_in()
    video_id = server.create(token, "Made by a script")
    card = visitor.card("Made by a script")
    expect(card.get_by_role("progressbar")).to_be_visible()
    server.request("POST", f"/api/videos/{video_id}/cancel", {}, token=token)
    expect(card.get_by_text("Cancelled")).to_be_visible()


def test_endless_scroll(visit: Visit, start_server: StartServer) -> None:
    """Older tasks come as one scrolls, each once, the newest first."""
    server = start_server(SORA_SIMULATOR_SECONDS="0", MAX_TASKS_PER_USER="1000")
    token = server.sign_in()
    for number in range(60):
        server.create(token, f"Number {number:02}", size="1280x720")
    visitor = visit(server).sign_in()
    expect(visitor.card("Number 59")).to_be_visible()
    visitor.card("Number 59").hover()
    for number in (40, 20, 0):
        while visitor.page.get_by_text(f"Number {number:02}").count() == 0:
            visitor.page.mouse.wheel(0, 2000)
    expect(visitor.page.get_by_role("listitem").filter(has_text="Number")).to_have_count(60)


def test_an_image_goes_along(visit: Visit, server: Server, tmp_path: Path) -> None:
    """A picked image is shown in its chip, can be taken out, and goes with the order."""
    visitor = visit(server).sign_in()
    picture = tmp_path / "start.png"
    visitor.page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": 64, "height": 64})
    picker = visitor.page.locator("input[type=file]")
    picker.set_input_files(picture)
    expect(visitor.page.locator("#image img")).to_be_visible()
    visitor.button("Take the image out").click()
    expect(visitor.page.locator("#image img")).to_be_hidden()
    picker.set_input_files(picture)
    with visitor.page.expect_request(lambda request: request.method == "POST") as created:
        card = visitor.generate("From a picture")
    assert created.value.headers["content-type"].startswith("multipart/form-data")
    expect(card.locator("video")).to_be_visible()
    expect(visitor.page.locator("#image img")).to_be_hidden()


def test_an_image_by_drop_and_paste(visit: Visit, server: Server) -> None:
    """An image that is dropped on the composer or pasted into the prompt is taken; other files are not."""
    visitor = visit(server).sign_in()
    give = """([kind, type]) => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], "file", { type }));
      const prompt = document.querySelector("textarea");
      const Event = kind === "drop" ? DragEvent : ClipboardEvent;
      const key = kind === "drop" ? "dataTransfer" : "clipboardData";
      prompt.dispatchEvent(new Event(kind, { [key]: data, bubbles: true, cancelable: true }));
    }"""
    for kind in ("drop", "paste"):
        visitor.page.evaluate(give, [kind, "image/png"])
        expect(visitor.button("Take the image out")).to_be_visible()
        visitor.button("Take the image out").click()
    visitor.page.evaluate(give, ["drop", "application/pdf"])
    expect(visitor.page.get_by_text("Only JPEG, PNG and WebP")).to_be_visible()


def test_an_empty_account(visit: Visit, server: Server) -> None:
    """An empty account is offered three prompts; a click puts one into the composer."""
    visitor = visit(server).sign_in()
    examples = visitor.page.locator("#examples").get_by_role("button")
    expect(examples).to_have_count(3)
    words = examples.first.inner_text()
    examples.first.click()
    expect(visitor.page.get_by_label("Prompt")).to_have_value(words)
    visitor.page.keyboard.press("Control+Enter")
    expect(visitor.card(words).locator("video")).to_be_visible()
    expect(visitor.page.locator("#examples")).to_be_hidden()


def test_the_simulator_is_named(visit: Visit, server: Server) -> None:
    """With simulated tasks one calm line says that these are test pictures."""
    visitor = visit(server).sign_in()
    expect(visitor.page.locator("#simulator")).to_be_hidden()
    visitor.generate("Anything")
    expect(visitor.page.get_by_text("test pictures")).to_be_visible()
