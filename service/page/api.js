/** Asks the service. What it refuses becomes a Refusal with its sentence. */
// @ts-check
import { t } from "./strings.js";
import { readToken } from "./token.js";

/** What the service told this page about itself. */
export const facts = document.documentElement.dataset;

/** @param {string} path */
export const address = (path) => new URL((facts.root ?? "./") + path, document.baseURI).href;

/**
 * The address of a recording's page, for the world.
 * @param {string} id
 */
export const link = (id) => `${facts.url}/listen/${id}`;

export class Refusal extends Error {
  /**
   * @param {string} sentence
   * @param {number} status 0 if there was no answer
   */
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }

  /** Whether the same request may succeed later. */
  get isPassing() {
    return [0, 408, 409, 429, 502, 503, 504].includes(this.status);
  }

  /**
   * @param {number} status
   * @param {string} body
   */
  static of(status, body) {
    try {
      return new Refusal(JSON.parse(body).detail, status);
    } catch {
      return new Refusal(status ? t.unexpected(status) : t.offline, status);
    }
  }
}

/**
 * Send a request and return its answer. Raises Refusal, also if there is no answer.
 * @param {string} method
 * @param {string} path
 * @param {RequestInit & { token?: string | null, headers?: Record<string, string> }} options
 * @returns {Promise<Response>}
 */
export async function ask(method, path, options = {}) {
  const { token = readToken(), headers, ...others } = options;
  /** @type {Record<string, string>} */
  const own = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(address(path), { method, headers: { ...own, ...headers }, ...others }).catch(() => null);
  if (answer?.ok) return answer;
  if (answer?.status === 401 && token && token === readToken()) document.dispatchEvent(new Event("tokenrefused"));
  throw Refusal.of(answer?.status ?? 0, answer ? await answer.text().catch(() => "") : "");
}

/** @param {number} seconds */
export const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** An unguessable name. crypto.randomUUID is not there on insecure origins. */
export const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
