// What the pages do where there is JavaScript: they stay up to date, and questions are asked without leaving them.
import { keepLive } from "./live.js";
import { askHere } from "./ask.js";
import { readAhead } from "./ahead.js";

keepLive();
askHere();
readAhead();
