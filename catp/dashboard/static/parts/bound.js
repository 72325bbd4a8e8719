// Controls whose state is in the address: the first option, nothing and off are left out of it.
import {html} from "../vendor/vendor.js";
import {route, setQuery} from "../store.js";
import {Choice} from "./basics.js";

export const shown = (name, usual = "") => route.value.query.get(name) ?? usual;
const first = ([one]) => (Array.isArray(one) ? one[0] : one);
export const Pick = ({of, label, options, usual = first(options)}) => html`<${Choice} label=${label}
	value=${shown(of, usual)} options=${options} pick=${one => setQuery({[of]: one === usual ? null : one})} />`;
/** An input; `live` follows every key. */
export const Entry = ({of, label = of.replace("_", " "), usual, live, ...rest}) => {
	const put = ({target: {value}}) => setQuery({[of]: value === usual ? null : value});
	return html`<label>
		${label} <input value=${shown(of, usual)} ...${{...rest, [live ? "onInput" : "onChange"]: put}} />
	</label>`;
};
export const Find = ({of}) => html`<${Entry} of=${of} label="find" type="search" size="12" live />`;
export const Tick = ({of, children}) => html`<label>
	<input type="checkbox" checked=${!!shown(of)} onChange=${() => setQuery({[of]: shown(of) ? null : 1})} /> ${children}
</label>`;
