"use strict";
require("worker_threads").parentPort.postMessage(42);
