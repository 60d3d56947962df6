"""HTTPS with a certificate made on the spot."""

import ipaddress
import ssl
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import pytest
from aiohttp import web
from cryptography import x509

from realtime.config import Settings
from realtime.serve import announce
from realtime.tls import lan_addresses, make_context, self_signed


def test_the_certificate_names_this_machine_and_its_addresses() -> None:
    pem = self_signed(["localhost"], ["127.0.0.1", "192.0.2.7", "::1"])
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert ipaddress.ip_address("192.0.2.7") in names.get_values_for_type(x509.IPAddress)
    assert certificate.not_valid_after_utc > certificate.not_valid_before_utc
    assert b"PRIVATE KEY" in pem


def test_addresses_are_no_loopback() -> None:
    assert not any(ipaddress.ip_address(text).is_loopback for text in lan_addresses())


async def test_a_browser_that_trusts_the_certificate_gets_through(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    pem.write_bytes(self_signed(["localhost"], ["127.0.0.1"]))
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=make_context(f"{pem},{pem}")).start()
    trusting = ssl.create_default_context(cafile=str(pem))
    async with aiohttp.ClientSession() as http:
        response = await http.get(f"https://127.0.0.1:{runner.addresses[0][1]}/", ssl=trusting)
        assert response.status == 404
    await runner.cleanup()


def test_self_signed_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert isinstance(make_context("self-signed"), ssl.SSLContext)
    assert list(tmp_path.iterdir()) == []


def test_no_tls_is_no_context() -> None:
    assert make_context(None) is None


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_bad_files_are_told(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match="tls: cannot use"):
        make_context(f"{file},{file}")


def scanned(said: str) -> str:
    """What a phone reads off the blocks in a terminal's text: each is two cells, one above the other, in the
    terminal's own ink. Dark terminals are assumed: what has no ink is dark."""
    cells = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
    lines = [line for line in said.splitlines() if line and set(line) <= cells.keys()]
    rows = [[cells[block][half] for block in line] for line in lines for half in (0, 1)]
    picture = np.kron(np.array(rows, np.uint8), np.ones((8, 8), np.uint8))
    text, _, _ = cv2.QRCodeDetector().detectAndDecode(picture)
    return text


def test_phones_get_a_code_to_scan(capsys: pytest.CaptureFixture[str]) -> None:
    announce(Settings(source=(Path("x"),), host="192.0.2.7", tls="self-signed", token="abc"), 8443)
    said = capsys.readouterr().out
    assert "Open https://192.0.2.7:8443/#token=abc\n" in said
    assert scanned(said) == "https://192.0.2.7:8443/#token=abc"


def test_without_tls_the_need_for_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    announce(Settings(source=(Path("x"),), host="192.0.2.7", token="abc"), 8080)
    assert "--tls self-signed" in capsys.readouterr().out


def test_on_loopback_there_is_only_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    announce(Settings(source=(Path("x"),)), 8080)
    assert capsys.readouterr().out == "Open http://127.0.0.1:8080/\n"
