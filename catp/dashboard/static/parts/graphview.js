// A window onto a drawing that is larger than it: zoom, scrolling, dragging.
import {useLayoutEffect, useRef, useState} from "../vendor/vendor.js";

export const LEAST = 0.1;
const LEGIBLE = 0.55,
	MOST = 2;

/** {view: its ref, zoom, zoomBy(factor, x, y), fit(least), reveal([x, y, w, h]), hand: what hears of dragging}. */
export function useView({w, h, hash, dir}) {
	const view = useRef(null),
		[zoom, setZoom] = useState(1);
	const hold = useRef(null); // the point that stays where it is while the zoom changes
	const fit = least => setZoom(Math.max(least, Math.min(1, view.current.clientWidth / w, (innerHeight * 0.7) / h)));
	const zoomBy = (factor, x = view.current.clientWidth / 2, y = view.current.clientHeight / 2) => {
		hold.current = [x, y, (view.current.scrollLeft + x) / zoom, (view.current.scrollTop + y) / zoom];
		setZoom(Math.min(MOST, Math.max(LEAST, zoom * factor)));
	};
	useLayoutEffect(() => fit(LEGIBLE), [hash, dir]);
	useLayoutEffect(() => {
		const [x, y, left, top] = hold.current ?? [];
		if (hold.current) view.current.scrollTo(left * zoom - x, top * zoom - y);
		hold.current = null;
	}, [zoom]);
	useLayoutEffect(() => {
		// in time for the next turn of the wheel
		const wheel = event => {
			if (!event.ctrlKey && !event.metaKey) return;
			event.preventDefault();
			const frame = view.current.getBoundingClientRect();
			zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - frame.left, event.clientY - frame.top);
		};
		const box = view.current;
		box.addEventListener("wheel", wheel, {passive: false});
		return () => box.removeEventListener("wheel", wheel);
	}, [zoom]);
	return {view, zoom, zoomBy, fit, hand: useHand(view), reveal: box => reveal(view.current, box, zoom)};
}

function useHand(view) {
	const drag = useRef(null);
	const drop = () => (drag.current = null);
	return {
		onPointerDown: event => {
			if (event.pointerType !== "mouse" || event.button || event.target.closest("button")) return; // fingers scroll
			drag.current = [event.clientX + view.current.scrollLeft, event.clientY + view.current.scrollTop];
			view.current.setPointerCapture(event.pointerId);
		},
		onPointerMove: ({clientX, clientY}) =>
			drag.current && view.current.scrollTo(drag.current[0] - clientX, drag.current[1] - clientY),
		onPointerUp: drop,
		onPointerCancel: drop
	};
}

function reveal(view, [x, y, w, h], zoom) {
	const into = (from, size, now, room) =>
		from < now ? from - 16 : from + size > now + room ? from + size - room + 16 : now;
	view.scrollTo(
		into(x * zoom, w * zoom, view.scrollLeft, view.clientWidth),
		into(y * zoom, h * zoom, view.scrollTop, view.clientHeight)
	);
}
