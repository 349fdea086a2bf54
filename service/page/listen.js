/** The page of one recording, for anybody who has its link. */
// @ts-check
import { facts } from "./api.js";
import { fillIn, get } from "./dom.js";
import { date, time } from "./format.js";
import { openPlayer, play } from "./player.js";
import { t } from "./strings.js";

const { id = "", filename = "", created = "", duration, live } = facts;
const isLive = Boolean(live);
const seconds = duration ? Number(duration) : null;

fillIn();
get("facts").textContent = [...(isLive ? [t.arriving] : []), ...(seconds ? [time(seconds)] : []), date(created)].join(" · ");
openPlayer();
play({ id, filename, duration: seconds, isLive }, 0, false);
