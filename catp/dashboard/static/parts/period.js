// A span of days in the address (UTC): `from` and `to`, the last thirty days if they are not there.
import {html} from "../vendor/vendor.js";
import {setQuery} from "../store.js";
import {Choice, Empty, Link} from "./basics.js";

const ago = n => new Date(Date.now() - n * 864e5).toISOString().slice(0, 10);

/** {from, to} as the API wants them. */
export const spanOf = query => ({from: query.get("from"), to: query.get("to")});

/** The day of a moment in Unix seconds. */
export const dayOf = at => new Date(at * 1000).toISOString().slice(0, 10);

export const Nothing = ({what}) => html`<${Empty} title="${what} in these days"
	command='catp run "tell me the language of this text" -i text="Guten Tag"'>
	<p>Look at other days. The <${Link} to="">overview<//> has demo data.</p>
<//>`;

export function Period({query}) {
	const today = ago(0),
		from = query.get("from") ?? ago(29),
		to = query.get("to") ?? today;
	const preset = [7, 30, 90, 365].find(n => to === today && from === ago(n - 1));
	const set = (first, last) => setQuery({from: first === ago(29) ? null : first, to: last === today ? null : last});
	const date = (label, value, pick) => html`<label>
		${label} <input type="date" value=${value} max=${today} onChange=${({target}) => target.value && pick(target.value)} />
	</label>`;
	return html`<span class="row">
		<${Choice} label="Period" value=${`${preset ?? "own"}`} pick=${n => n !== "own" && set(ago(n - 1), today)}
			options=${[7, 30, 90, 365].map(n => [`${n}`, `${n} days`]).concat([["own", "own dates"]])} />
		${date("from", from, day => set(day, day > to ? day : to))}
		${date("to", to, day => set(day < from ? day : from, day))}
	</span>`;
}
