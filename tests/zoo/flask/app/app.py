"""Each route needs something that the others do not."""

import os
import sqlite3

from flask import Flask, abort, jsonify, render_template, request

app = Flask(__name__)


@app.get("/")
def index():
    return render_template("index.html", name="slim")


@app.get("/second")
def second():
    return render_template("second.html")


@app.get("/sql")
def sql():
    with sqlite3.connect(":memory:") as db:
        return jsonify(answer=db.execute("select 6 * 7").fetchone()[0])


@app.get("/zone/<path:name>")
def zone(name):
    import datetime
    import zoneinfo

    moment = datetime.datetime(2000, 1, 1, 12, tzinfo=datetime.timezone.utc)
    return moment.astimezone(zoneinfo.ZoneInfo(name)).isoformat()


@app.get("/host")
def host():
    import socket

    return socket.gethostbyname("localhost")


@app.get("/digest")
def digest():
    import hashlib
    import lzma
    import xml.etree.ElementTree as tree

    return hashlib.sha3_256(lzma.compress(tree.tostring(tree.Element("a")))).hexdigest()


@app.get("/process")
def process():
    import subprocess

    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout


@app.post("/upload")
def upload():
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(request.files["file"].read())
        return str(file.tell())


@app.get("/broken")
def broken():
    raise RuntimeError(os.environ.get("REASON", "broken on purpose"))


@app.get("/forbidden")
def forbidden():
    abort(403)


@app.errorhandler(404)
def absent(_error):
    return render_template("404.html"), 404
