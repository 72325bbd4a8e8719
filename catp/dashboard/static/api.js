// Talks to the API. Paths are relative to the page's base, so any prefix of a proxy works.

export class ApiError extends Error {
	constructor(status, code, detail) {
		super(detail);
		this.status = status;
		this.code = code;
	}
}

/** The address of a path below the page's base; empty parameters are left out. */
export function address(path, params = {}) {
	const found = new URL(path, document.baseURI);
	for (const [key, value] of Object.entries(params)) {
		if (value != null && value !== "") found.searchParams.set(key, value);
	}
	return found.href;
}

/** The address of something of the API: url("runs", {limit: 50}). */
export const url = (path, params) => address(`api/v1/${path}`, params);

async function ask(at, options) {
	let answer;
	try {
		answer = await fetch(at, options);
	} catch (error) {
		if (error.name === "AbortError") throw error;
		throw new ApiError(0, "unreachable", "The server does not answer. Is `catp dashboard` still running?");
	}
	const body =
		answer.status === 204
			? null
			: await answer.json().catch(error => (error.name === "AbortError" ? Promise.reject(error) : null));
	if (answer.ok) return body;
	const code = (body?.type ?? "").replace("urn:catp:problem:", "") || "http";
	throw new ApiError(answer.status, code, body?.detail ?? `${answer.status} ${answer.statusText}`);
}

export const get = (path, params, signal) => ask(url(path, params), {signal});

/** Change something: send("POST", "runs/ID/cancel", {reason}). `key` makes a repeated POST do nothing new. */
export const send = (method, path, body = {}, key = undefined, signal = undefined) =>
	ask(url(path), {
		method,
		signal,
		headers: {"content-type": "application/json", ...(key ? {"idempotency-key": key} : {})},
		body: JSON.stringify(body)
	});
