"use strict";
// Each route needs something that the others do not; an orderly end on SIGTERM (node is process 1).
const express = require("express");
const fs = require("fs");
const https = require("https");
const { Worker } = require("worker_threads");

const app = express();
app.set("view engine", "ejs");
app.use(require("compression")({ threshold: 0 }));
app.get("/api/:number", (request, response) => {
  const number = Number(request.params.number);
  response.json({ number, square: number * number });
});
app.get("/page", (request, response) => response.render("page", { title: "a page" }));
app.get("/worker", (request, response) =>
  new Worker("./worker.js").once("message", (answer) => response.json({ answer })));
app.get("/zone", (request, response) =>
  response.send(new Date(0).toLocaleString("de-DE", { timeZone: "Asia/Tokyo", dateStyle: "full" })));
app.get("/lookup", (request, response, next) =>
  require("dns").lookup("localhost", { family: 4 }, (error, address) => (error ? next(error) : response.send(address))));
app.get("/digest", (request, response) =>
  response.send(require("crypto").createHash("sha512").update("a").digest("hex")));
app.get("/process", (request, response) =>
  require("child_process").exec("id -un", (error, out) => response.send(out)));
app.get("/import", async (request, response) =>
  response.send((await import("./node_modules/ejs/ejs.js")).default.render("<%= 6 * 7 %>")));
app.get("/broken", () => { throw new Error("broken on purpose"); });
app.post("/json", express.json(), (request, response) => response.json(request.body));
app.use(express.static("public"));

const server = app.listen(3000, "0.0.0.0", () => console.log("listening"));
const pair = { key: fs.readFileSync("/etc/ssl/site.key"), cert: fs.readFileSync("/etc/ssl/site.crt") };
const secure = https.createServer(pair, app).listen(3443, "0.0.0.0");
process.on("SIGTERM", () => { secure.close(); server.close(() => process.exit(0)); });
