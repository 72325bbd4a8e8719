// The shell: navigation, who is connected, theme, shortcuts; and which page belongs to an address.
import {html, render, useEffect, useState} from "./vendor/vendor.js";
import {go, live, loadMeta, meta, metaError, route, theme} from "./store.js";
import {Choice, Dialog, Failure, Link, Loading} from "./parts/basics.js";

// First part of the address, which is the name of a module in pages/ -> title. `pages.py` knows the same names.
const PAGES = {
	"": "Overview", runs: "Runs", plan: "Plan", compare: "Compare", pareto: "Pareto", tools: "Tools", spend: "Spend",
	serving: "Serving", training: "Training", settings: "Settings"
};
const WALK = {
	o: "", r: "runs", n: "plan", c: "compare", p: "pareto", t: "tools", s: "spend", e: "serving", l: "training",
	",": "settings"
};

function App() {
	const {parts} = route.value;
	const [help, setHelp] = useState(false);
	const name = parts[0] ?? "";
	const one = name === "runs" && parts[1];
	const title = one ? "Run" : (PAGES[name] ?? "No such page");
	const file = one ? "run" : name in PAGES ? name || "overview" : "absent";
	useEffect(() => shortcuts(() => setHelp(true)), []);
	useEffect(() => {
		document.title = `${title}${parts[1] ? ` ${parts[1]}` : ""} · CATP`;
	}, [title, parts[1]]);
	return html`
		<a class="skip" href="#main" onClick=${event => (event.preventDefault(), document.getElementById("main").focus())}>
			Skip to the page
		</a>
		<header class="bar">
			<strong class="brand"><${Link} to="">CATP<//></strong>
			<nav aria-label="Pages">
				<ul>${Object.entries(PAGES).map(
					([path, text]) => html`<li>
						<${Link} to=${path} aria-current=${path === name ? "page" : undefined}>${text}<//>
					</li>`
				)}</ul>
			</nav>
			<div class="corner">
				${meta.value?.read_only && html`<span class="chip">read-only</span>`}
				${meta.value && meta.value.role !== "admin" && html`<span class="chip">${meta.value.role}</span>`}
				<${Dot} />
				<${Choice} label=${html`<span class="sr">Colours</span>`} value=${theme.value}
					options=${["system", "light", "dark"]} pick=${value => (theme.value = value)} />
				<button class="quiet" onClick=${() => setHelp(true)} aria-label="Keyboard shortcuts">?</button>
			</div>
		</header>
		<main id="main" tabindex="-1">
			${metaError.value && html`<${Failure} error=${metaError.value} retry=${loadMeta} />`}
			${meta.value
				? html`<${Page} file=${file} key=${file} parts=${parts} />`
				: !metaError.value && html`<${Loading} what="the dashboard" />`}
		</main>
		${help && html`<${Shortcuts} close=${() => setHelp(false)} />`}
	`;
}

/** A page, fetched when it is first shown. */
function Page({file, parts}) {
	const [found, setFound] = useState(null);
	useEffect(() => {
		if (file === "absent") return;
		import(`./pages/${file}.js`).then(
			module => setFound(() => module.default),
			error => setFound(() => () => html`<${Failure} error=${error} />`)
		);
	}, [file]);
	if (file === "absent")
		return html`
			<h1>No such page</h1>
			<p>There is nothing at <code>${route.value.path}</code>. <${Link} to="">Go to the overview<//></p>
		`;
	return found ? html`<${found} parts=${parts} query=${route.value.query} />` : html`<${Loading} what="the page" />`;
}

function Dot() {
	const {state, since} = live.value;
	if (state === "off") return null;
	const text = {live: "live", connecting: "connecting", stale: `stale since ${since.toLocaleTimeString("en-GB")}`}[
		state
	];
	return html`<span class="dot ${state}" role="status">
		<span aria-hidden="true">${state === "live" ? "●" : state === "stale" ? "▲" : "◌"}</span> ${text}
	</span>`;
}

function shortcuts(help) {
	let before = null;
	const hear = event => {
		if (
			event.ctrlKey ||
			event.metaKey ||
			event.altKey ||
			event.target.closest("input, textarea, select, dialog[open], [contenteditable]")
		)
			return;
		if (before === "g" && event.key in WALK) go(WALK[event.key]);
		else if (event.key === "?") help();
		else if (event.key === "/") {
			const search = document.querySelector("input[type=search]");
			if (search) search.focus();
			else go("runs");
			event.preventDefault();
		}
		before = event.key;
	};
	addEventListener("keydown", hear);
	return () => removeEventListener("keydown", hear);
}

const KEYS = [
	...Object.entries(WALK).map(([key, path]) => [`g ${key}`, PAGES[path]]),
	["/", "search"],
	["j, k or arrows", "next or previous row"],
	["Enter", "open the row or the step"],
	["arrows in a plan", "along its edges"],
	["Esc", "close"],
	["?", "this list"]
];
const Shortcuts = ({close}) => html`<${Dialog} title="Keyboard shortcuts" close=${close}>
	<dl class="keys">${KEYS.map(([keys, what]) => html`<div><dt><kbd>${keys}</kbd></dt><dd>${what}</dd></div>`)}</dl>
<//>`;

loadMeta();
render(html`<${App} />`, document.getElementById("app"));
