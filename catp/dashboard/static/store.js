// What all pages share: the address, who I am, the theme, and one stream of events for the whole tab.
import {effect, signal, useCallback, useEffect, useRef, useState} from "./vendor/vendor.js";
import {address, get, url} from "./api.js";

const base = new URL(document.baseURI);
const roles = ["viewer", "operator", "admin"];

// --- the address: all state of a view is in it

const here = () => {
	const path = location.pathname.slice(base.pathname.length).replace(/\/+$/, "");
	return {
		path,
		parts: path.split("/").filter(Boolean).map(decodeURIComponent),
		query: new URLSearchParams(location.search)
	};
};

/** {path, parts, query}: `runs/R1?tab=x` is {parts: ["runs", "R1"], query}. */
export const route = signal(here());
addEventListener("popstate", () => (route.value = here()));

/** The href of a page: href("runs/R1", {tab: "x"}). */
export const href = (path, query) => address(path || "./", query);

export function go(path, query) {
	history.pushState(null, "", href(path, query));
	route.value = here();
}

/** Change parts of the query and nothing else; null takes one out. `state` is what is kept beside the address. */
export function setQuery(patch, state = history.state) {
	const query = {...Object.fromEntries(route.value.query), ...patch};
	history.replaceState(state, "", href(route.value.path, query));
	route.value = here();
}

// --- who I am

/** /meta, or null before it is there; `metaError` is why it could not be had. */
export const meta = signal(null);
export const metaError = signal(null);
export const loadMeta = () =>
	get("meta").then(
		found => ((meta.value = found), (metaError.value = null)),
		error => (metaError.value = error)
	);

/** True if I may do what needs this role; buttons of what I may not are not shown. */
export const may = (role = "operator") =>
	!!meta.value && !meta.value.read_only && roles.indexOf(meta.value.role) >= roles.indexOf(role);

// --- light, dark, or as the system has it

export const remembered = (key, otherwise) => {
	try {
		return localStorage.getItem(`catp.${key}`) ?? otherwise;
	} catch {
		return otherwise; // storage may be forbidden
	}
};
export const remember = (key, value) => {
	try {
		localStorage.setItem(`catp.${key}`, value);
	} catch {
		/* then it is forgotten */
	}
};

export const theme = signal(remembered("theme", "system"));
effect(() => {
	document.documentElement.dataset.theme = theme.value;
	remember("theme", theme.value);
});

// --- events: one stream for all topics of this tab

/** {state: "off" | "connecting" | "live" | "stale", since: Date} */
export const live = signal({state: "off", since: new Date()});
const become = state => live.value.state !== state && (live.value = {state, since: new Date()});

const listeners = new Set(); // {topic, event, resync}
let source = null;
let last = null;
let opened = "";
let pending = 0;

/**
 * Hear of a topic (`runs`, `run:ID`, `engine`) until the returned function is called.
 * event({type, id, run, seq, ts, node, attempt, element, data}); resync(): fetch anew what you show.
 * `after` is the number of the last event you know (`last_event_id` of /runs/{id}); what came after it is sent again.
 */
export function listen(topic, {event, resync = () => {}, after = null}) {
	const one = {topic, event, resync, after};
	listeners.add(one);
	if (after !== null && (last === null || after < last)) last = after;
	reopen();
	return () => {
		listeners.delete(one);
		reopen();
	};
}

function reopen() {
	clearTimeout(pending);
	pending = setTimeout(() => {
		const topics = [...new Set([...listeners].map(one => one.topic))].sort().join(",");
		if (topics === opened && source && source.readyState !== EventSource.CLOSED) return;
		source?.close();
		source = null;
		opened = topics;
		if (!topics) return become("off");
		become("connecting");
		source = new EventSource(url("events", {topics, after: last}));
		source.onopen = () => become("live");
		source.onerror = () => {
			become("stale");
			if (source?.readyState === EventSource.CLOSED) setTimeout(reopen, 2000); // refused for good: ask again
		};
		for (const type of meta.value.events) source.addEventListener(type, take);
		source.addEventListener("hello", message => (last = Number(message.lastEventId)));
		source.addEventListener("resync", message => {
			last = Number(message.lastEventId);
			listeners.forEach(one => one.resync());
		});
		source.addEventListener("stale", () => become("stale"));
		source.addEventListener("live", () => become("live"));
	}, 0);
}

function take(message) {
	become("live");
	const id = message.lastEventId ? Number(message.lastEventId) : null;
	if (message.type !== "engine.sample" && id !== null) last = id;
	const event = {...JSON.parse(message.data), type: message.type, id};
	for (const one of [...listeners]) {
		const own =
			message.type === "engine.sample"
				? one.topic === "engine"
				: one.topic === `run:${event.run}` || (one.topic === "runs" && message.type.startsWith("run."));
		if (own && (one.after === null || id > one.after)) one.event(event);
	}
}

/** `listen` as a hook; a null topic hears nothing. */
export function useEvents(topic, handlers, deps = []) {
	useEffect(() => (topic ? listen(topic, handlers) : undefined), [topic, ...deps]);
}

/** A function that calls `act` a second later, once however often it is called; never after the page was left. */
export function useSoon(act) {
	const due = useRef(0);
	useEffect(() => () => clearTimeout(due.current), []);
	return () => (due.current ||= setTimeout(() => ((due.current = 0), act()), 1000));
}

/**
 * What a path of the API answers: {data, error, loading, reload}. Data stay while they are fetched anew.
 * A null path fetches nothing; `reload` lets an answer under way come first.
 */
export function useData(path, params = {}) {
	const key = path === null ? null : url(path, params);
	const [found, setFound] = useState({key: null, data: null, error: null});
	const [turn, setTurn] = useState(0);
	const asking = useRef(null); // {again} while an answer is under way
	useEffect(() => {
		if (key === null) return undefined;
		const stop = new AbortController(),
			one = (asking.current = {again: false});
		const done = () => asking.current === one && ((asking.current = null), one.again && setTurn(n => n + 1));
		get(path, params, stop.signal)
			.then(
				data => setFound({key, data, error: null}),
				error => error.name !== "AbortError" && setFound(old => ({key, data: old.key === key ? old.data : null, error}))
			)
			.finally(done);
		return () => ((asking.current = null), stop.abort());
	}, [key, turn]);
	const reload = useCallback(() => (asking.current ? (asking.current.again = true) : setTurn(n => n + 1)), []);
	const current = found.key === key;
	return {data: found.data, error: current ? found.error : null, loading: !current, reload};
}
