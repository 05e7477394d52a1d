import http.client
import json
import socket

import pytest

from maskgym.cli import main, parse
from maskgym.errors import BadInput
from maskgym.view.server import bind

ASKED = {"game": "small", "ratio": 0.75, "index": 0}


@pytest.fixture
def get(port):
    """Ask the server over a plain connection, which sends a path as it is written."""

    def ask(path, body=None, **headers):
        headers = {"host": f"127.0.0.1:{port}"} | headers
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        sent = None if body is None else json.dumps(body)
        connection.putrequest("GET" if sent is None else "POST", path, skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if sent is not None:
            connection.putheader("content-length", str(len(sent)))
        connection.endheaders(None if sent is None else sent.encode())
        answer = connection.getresponse()
        told = answer.status, answer.read().decode(), answer.headers
        connection.close()
        return told

    return ask


def test_the_page_comes_with_its_files_and_may_load_nothing_from_elsewhere(get):
    status, page, headers = get("/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    for file in ("style.css", "page.js", "icon.svg"):
        assert file in page
        status, found, _ = get(f"/{file}")
        assert status == 200
        assert "://" not in found.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("host", ["evil.example", "192.168.1.4:8000", "127.0.0.1.evil.example", ""])
def test_a_request_for_another_host_is_refused(get, host):
    assert get("/", host=host)[0] == 400
    assert get("/ask/about", {}, host=host)[0] == 400


def test_a_question_from_another_sites_page_is_refused(get, port):
    assert get("/ask/about", {}, origin="http://evil.example")[0] == 403
    assert get("/ask/about", {}, origin=f"http://127.0.0.1:{port}")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/%2e%2e%2f%2e%2e%2fcli.py", "//etc/passwd", "/ask/../x"],
)
def test_no_file_outside_the_pages_folder_is_served(get, path):
    assert get(path)[0] in (400, 404, 405)


@pytest.mark.parametrize(
    ("question", "asked", "status", "said"),
    [
        ("nothing", {}, 404, "no such question"),
        ("image", {"game": "x", "ratio": 0.5, "index": 0}, 400, "no game 'x'"),
        ("image", {"wrong": 1}, 400, "not understood"),
        ("image", [1], 400, "not understood"),
        ("score", {**ASKED, "mask": "abc"}, 400, "not understood"),
        ("score", {**ASKED, "mask": [0] * 600_000}, 413, "too long"),
        ("image", {**ASKED, "ratio": 1.5}, 400, "ratio"),
        ("image", {**ASKED, "ratio": 0.123}, 400, "ratio"),
    ],
)
def test_a_bad_question_is_answered_with_one_line(get, question, asked, status, said):
    got, told, _ = get(f"/ask/{question}", asked)
    assert got == status
    assert said in json.loads(told)["error"]


def test_the_port_is_open_on_this_machine_alone_and_one_that_is_taken_is_told():
    with bind(0) as place:
        address, port = place.getsockname()
        assert address == "127.0.0.1"
        with pytest.raises(BadInput, match=f"port {port} cannot be used"):
            bind(port)
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", port))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--agent", "randm"], "did you mean random"),
        (["--agent", "a3c:/nowhere"], "/nowhere"),
        (["--ratio", "0.77"], "ratio 0.77"),
        (["--env", "MaskMIM-v9"], "unknown environment"),
        (["--port", "99999"], "port 99999"),
        (["--par", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_bad_options_are_told_before_anything_is_served(words, said, capsys):
    with pytest.raises(SystemExit) as left:
        main(["view", "--no-browser", *words])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_agent_may_be_given_several_times():
    view = parse("view", ["--agent", "variance", "--agent", "loss-map?masks=2"])
    assert view.agent == ("variance", "loss-map?masks=2")
    assert view.session().players[:2] == ("variance", "loss-map?masks=2")
