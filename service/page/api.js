/** Asks the service. What it refuses becomes a Refusal with its sentence. */
// @ts-check
import { strings } from "./strings.js";
import { readToken } from "./token.js";

const PASSING = [0, 408, 409, 429, 502, 503, 504];

/** What the service told this page about itself. */
export const facts = document.documentElement.dataset;

/** @param {string} path */
export const address = (path) => new URL((facts.root ?? "./") + path, document.baseURI).href;

export class Refusal extends Error {
  /**
   * @param {string} sentence
   * @param {number} status 0 if there was no answer
   * @param {string} code
   */
  constructor(sentence, status = 0, code = "") {
    super(sentence);
    this.status = status;
    this.code = code;
  }

  /** Whether the same request may succeed later. */
  get isPassing() {
    return PASSING.includes(this.status);
  }

  /**
   * @param {number} status
   * @param {string} body
   */
  static of(status, body) {
    try {
      const { detail, code } = JSON.parse(body);
      return new Refusal(detail, status, code);
    } catch {
      return new Refusal(status ? strings.unexpected(status) : strings.offline, status);
    }
  }
}

/**
 * Send a request and return its answer. Raises Refusal, also if there is no answer.
 * @param {string} method
 * @param {string} path
 * @param {RequestInit & { token?: string | null, headers?: Record<string, string> }} [options]
 */
export async function ask(method, path, { token = readToken(), headers = {}, ...options } = {}) {
  const own = token ? { Authorization: `Bearer ${token}` } : {};
  const request = { method, headers: { ...own, ...headers }, ...options };
  const answer = await fetch(address(path), request).catch(() => null);
  if (answer?.ok) return answer;
  if (answer?.status === 401 && token && token === readToken()) document.dispatchEvent(new Event("tokenrefused"));
  throw Refusal.of(answer?.status ?? 0, answer ? await answer.text().catch(() => "") : "");
}

/** @param {number} seconds */
export const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** An unguessable name. crypto.randomUUID is not there on insecure origins. */
export const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
