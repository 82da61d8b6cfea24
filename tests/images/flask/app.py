"""Two routes: one renders a template, one answers JSON after an import on first use."""

from flask import Flask, jsonify, render_template

app = Flask(__name__)


@app.get("/")
def index():
    return render_template("index.html", name="slim")


@app.get("/api/<int:number>")
def square(number):
    import decimal  # Imported by the first request, not at start.

    return jsonify(number=number, square=str(decimal.Decimal(number) ** 2))
