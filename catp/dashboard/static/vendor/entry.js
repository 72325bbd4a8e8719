// What the pages use, and no more: names that nobody imports would be shipped all the same.
export { render } from "preact";
export { useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useId } from "preact/hooks";
export { signal, computed, effect } from "@preact/signals";
import htm from "htm";
import { h } from "preact";
export const html = htm.bind(h);
