// The smallest things that all pages are made of.
import {html, useEffect, useId, useRef, useState} from "../vendor/vendor.js";
import {go, href} from "../store.js";

// --- words and figures

/** "$0.0123" of a decimal string; null is unpriced, never 0. Negative amounts are "−$0.01". */
export function usd(amount, {sign = false} = {}) {
	if (amount == null) return "unpriced";
	const text = String(amount);
	const minus = text.startsWith("-");
	let size = minus ? text.slice(1) : text;
	const value = Number(size);
	if (value >= 100) size = value.toFixed(2);
	else if (value >= 1) size = trim(value.toFixed(3), 2);
	else if (value > 0) size = trim(value.toPrecision(3).includes("e") ? value.toFixed(9) : value.toPrecision(3), 0);
	return `${minus && value ? "−" : sign && value ? "+" : ""}$${size}`;
}
const trim = (text, least) => {
	const [whole, part = ""] = text.split(".");
	const kept = part.replace(/0+$/, "").padEnd(least, "0");
	return kept ? `${whole}.${kept}` : whole;
};

/** "850 ms", "9.3 s", "2 min 05 s". */
export function duration(ms) {
	if (ms == null) return "–";
	const size = Math.abs(ms);
	if (size < 1) return `${ms.toFixed(2)} ms`;
	if (size < 1000) return `${Math.round(ms)} ms`;
	if (size < 60000) return `${(ms / 1000).toFixed(size < 10000 ? 2 : 1)} s`;
	const minutes = Math.floor(size / 60000);
	if (minutes < 60) return `${minutes} min ${String(Math.floor((size % 60000) / 1000)).padStart(2, "0")} s`;
	return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

export const percent = (share, digits = 0) => (share == null ? "–" : `${(share * 100).toFixed(digits)} %`);

export const number = (value, digits = 0) =>
	value == null ? "–" : Number(value).toLocaleString("en", {maximumFractionDigits: digits});

/** A time as people say it, with the exact one on hover. */
export function When({at}) {
	if (!at) return "–";
	const date = new Date(at);
	const today = date.toDateString() === new Date().toDateString();
	const text = today
		? date.toLocaleTimeString("en-GB")
		: date.toLocaleString("en-GB", {dateStyle: "medium", timeStyle: "short"});
	return html`<time datetime=${at} title=${date.toISOString()}>${text}</time>`;
}

/** An amount; unpriced is a chip that warns. */
export function Money({amount, unpriced = 0}) {
	if (amount == null) return html`<span class="chip warn">unpriced</span>`;
	return html`
		<span class="num">${usd(amount)}</span>
		${unpriced > 0 && html` <span class="chip warn"
			title="${unpriced} ledger rows have no known price; they are not in the sum">
			+ ${unpriced} unpriced
		</span>`}
	`;
}

// shape, class of its colour, word if it is another than the state's name
const STATES = {
	pending: "○", ready: "◔", running: "◐ busy", ok: "✓ good", complete: "✓ good", degraded: "◪ warn", cached: "↻ good",
	skipped: "⤼", failed: "✕ bad", timeout: "◷ bad timed out", cancelled: "■", refused: "$ warn stopped by budget",
	waiting: "⚑ warn awaiting approval", waiting_approval: "⚑ warn awaiting approval", poisoned: "⊘ muted not reached",
	interrupted: "⚡ warn", lost: "? warn"
};
/** [shape, word, colour class] of a state; what is ok from the cache has its own. */
export function stateOf(status, cached) {
	const key = cached && status === "ok" ? "cached" : status;
	const [shape, colour = "", ...words] = (STATES[key] ?? "•").split(" ");
	return [shape, words.join(" ") || (key ?? "unknown"), colour];
}

/** A state as shape, word and colour. */
export function Status({status, cached}) {
	const [shape, word, colour] = stateOf(status, cached);
	return html`<${Sign} of="${shape} ${colour}">${word}<//>`;
}
/** Words after a shape, in its colour: <Sign of="✓ good">. */
export function Sign({of, children}) {
	const [shape, colour] = of.split(" ");
	return html`<span class="status ${colour}"><span aria-hidden="true">${shape}</span> ${children}</span>`;
}

// --- links, buttons, notes

/** A link inside the dashboard: <Link to="runs/R1" query={{...}}>. */
export function Link({to, query, children, ...rest}) {
	const target = href(to, query);
	const click = event => {
		if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
		event.preventDefault();
		go(to, query);
	};
	return html`<a href=${target} onClick=${click} ...${rest}>${children}</a>`;
}

export const Card = ({title, children, ...rest}) => html`<section class="card" ...${rest}>
	${title && html`<h2>${title}</h2>`}${children}
</section>`;

/** A number with its unit, and how it is computed on demand. */
export function Figure({label, children, how}) {
	return html`<div class="figure">
		<dt>${label}${how && html` <${How} of=${label}>${how}<//>`}</dt>
		<dd>${children}</dd>
	</div>`;
}

/** A "?" that says how a number is computed. */
export function How({of, children}) {
	const id = useId();
	return html`<span class="how">
		<button type="button" class="quiet small" popovertarget=${id} aria-label="how is ${of} computed">?</button>
		<span popover id=${id} class="note">${children}</span>
	</span>`;
}

export const Loading = ({what = "data"}) => html`<p class="loading" role="status">Loading ${what} …</p>`;

/** Why something is not shown, and a way to try again. */
export function Failure({error, retry}) {
	return html`<div class="failure" role="alert">
		<strong>${error.status ? `${error.status} ${error.code}` : "No answer"}</strong>
		<p>${error.message}</p>
		${retry && html`<button onClick=${retry}>Try again</button>`}
	</div>`;
}

/** Nothing to show yet: what it is, a command that makes some. */
export function Empty({title, command, children}) {
	return html`<div class="empty"><h2>${title}</h2>${children}${command && html`<${Command} text=${command} />`}</div>`;
}

/** A command to copy. */
export function Command({text}) {
	return html`<div class="command"><code>${text}</code><${Copy} text=${text} /></div>`;
}

export function Copy({text, label = "Copy"}) {
	const [said, setSaid] = useState("");
	const copy = async () => {
		try {
			await navigator.clipboard.writeText(text);
			setSaid("Copied");
		} catch {
			setSaid("Select it and copy by hand");
		}
		setTimeout(() => setSaid(""), 2000);
	};
	return html`<button class="quiet" onClick=${copy}>${label}</button><span role="status">${said}</span>`;
}

/** data, error and loading of `useData` in one: children(data) once there are data. */
export function Loaded({of: {data, error, loading, reload}, what, children}) {
	if (error && !data) return html`<${Failure} error=${error} retry=${reload} />`;
	if (!data) return loading ? html`<${Loading} what=${what} />` : null;
	return html`${error && html`<${Failure} error=${error} retry=${reload} />`}${children(data)}`;
}

/** A modal dialog that is open while it is rendered; Esc closes it. */
export function Dialog({title, close, children}) {
	const self = useRef(null);
	const id = useId();
	useEffect(() => {
		self.current.showModal();
	}, []);
	return html`<dialog ref=${self} aria-labelledby=${id} onClose=${close}>
		<header>
			<h2 id=${id}>${title}</h2>
			<button type="button" class="quiet" onClick=${() => self.current.close()}>Close</button>
		</header>
		${children}
	</dialog>`;
}

/** One of several views: <Choice label="colour by" value options={["cost", ...]} pick/>. */
export function Choice({label, value, options, pick}) {
	return html`<label class="choice">
		${label} <select value=${value} onChange=${event => pick(event.target.value)}>
			${options
				.map(one => (Array.isArray(one) ? one : [one, one]))
				.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
		</select>
	</label>`;
}

/** A button that runs something that may fail, once at a time; says why it failed. */
export function Act({run, children, class: kind = "", ...rest}) {
	const [busy, setBusy] = useState(false);
	const [error, setError] = useState(null);
	const click = async () => {
		setBusy(true);
		setError(null);
		try {
			await run();
		} catch (problem) {
			setError(problem);
		} finally {
			setBusy(false);
		}
	};
	return html`
		<button type="button" class=${kind} disabled=${busy} onClick=${click} ...${rest}>${children}</button>
		${error && html`<span class="bad" role="alert">${error.message}</span>`}
	`;
}
