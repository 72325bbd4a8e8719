// Events of a run: the latest 500, older ones page by page.
import {html, useState} from "../vendor/vendor.js";
import {setQuery, useData} from "../store.js";
import {Copy, Loaded} from "./basics.js";
import {Find, Pick, Tick, shown} from "./bound.js";

export function EventLog({state}) {
	const open = !!shown("log");
	return html`<details class="card" open=${open}
		onToggle=${({target}) => target.open !== open && setQuery({log: open ? null : "on"})}>
		<summary><h2>Events</h2></summary>
		${open && html`<${Log} ...${state.run.value} />`}
	</details>`;
}

function Log({id, last_seq}) {
	const [upto, setUpto] = useState(null),
		step = shown("step"),
		own = step && shown("own");
	const page = (text, to) => html`<button onClick=${() => setUpto(to)}>${text}</button>`;
	return html`<${Loaded} of=${useData(`runs/${id}/events`, {before: upto ?? last_seq + 1, limit: 500})}
		what="the events">${({items}) => {
		const some = items.filter(
			one =>
				one.type === shown("type", one.type) &&
				(!own || one.step === step) &&
				JSON.stringify(one).includes(shown("event"))
		);
		return html`
			<div class="row">
				<${Find} of="event" />
				<${Pick} of="type" label="type" options=${[["", "all"], ...new Set(items.map(one => one.type))]} />
				${step && html`<${Tick} of="own">only of <bdi>${step}</bdi><//>`}
				<${Copy} label="Copy as JSON" text=${JSON.stringify(some)} />
				<span class="muted">${some.length} of ${last_seq}</span>
				${items[0]?.seq > 1 && page("Older", items[0].seq)}
				${upto && page("Newest", null)}
			</div>
			<ol class="log scroll" tabindex="0" aria-label="Events">${some.map(
				one => html`<li key=${one.seq}>
					<span class="muted num">
						${one.seq} ${new Date(one.at_ns / 1e6).toISOString().slice(11, 23)}
					</span> <strong>${one.type}</strong> <bdi>
						${one.step}${one.element !== undefined && `[${one.element}]`}
					</bdi> <code dir="auto">${JSON.stringify(one.data)}</code>
				</li>`
			)}</ol>
		`;
	}}<//>`;
}
