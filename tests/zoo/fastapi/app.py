"""Validated routes, a form, a stream and a background thread."""

import datetime
from decimal import Decimal

from fastapi import FastAPI, Form, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Order(BaseModel):
    name: str
    price: Decimal
    day: datetime.date


@app.get("/")
async def index():
    return {"hello": "slim"}


@app.post("/order")
async def order(order: Order):
    return order


@app.post("/form")
async def form(name: str = Form()):
    return {"name": name}


@app.get("/thread")
def thread():
    return {"thread": True}


@app.get("/stream")
async def stream():
    return StreamingResponse(iter(["one ", "two"]))


@app.get("/broken")
async def broken():
    raise RuntimeError("broken on purpose")


@app.get("/teapot")
async def teapot():
    raise HTTPException(418, "short and stout")
