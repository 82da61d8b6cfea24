"use strict";
// One JSON route, one static directory, and an orderly end on SIGTERM (node is process 1 here).
const express = require("express");

const app = express();
app.get("/api/:number", (request, response) => {
  const number = Number(request.params.number);
  response.json({ number, square: number * number });
});
app.use(express.static("public"));

const server = app.listen(3000, "0.0.0.0", () => console.log("listening"));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
