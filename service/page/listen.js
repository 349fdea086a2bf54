/** The page of one recording, for anybody who has its link. */
// @ts-check
import { facts } from "./api.js";
import { fillIn, get } from "./dom.js";
import { date, time } from "./format.js";
import { openPlayer, play } from "./player.js";
import { t } from "./strings.js";

const { id = "", filename = "", duration, created = "" } = facts;
const seconds = duration ? Number(duration) : null;

fillIn();
get("facts").textContent = `${seconds === null ? t.arriving : time(seconds)} · ${date(created)}`;
openPlayer();
void play({ id, filename, duration: seconds, isLive: seconds === null }, 0, false);
