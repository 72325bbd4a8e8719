// The buttons of the demo, for admins.
import {html} from "../vendor/vendor.js";
import {send} from "../api.js";
import {go} from "../store.js";
import {Act} from "./basics.js";

/** there: its data are in the store already; `remove` takes them out. */
export const Demo = ({there, remove}) => html`
	${there
		? html`<${Act} run=${remove}>Remove demo data<//>`
		: html`<${Act} class="first" run=${() => send("POST", "demo").then(() => go(""))}>Load demo data<//>`}
	<${Act} run=${async () => go(`runs/${(await send("POST", "demo/live")).run}`)}>Watch a demo run<//>
`;
