import { suggest } from "../config/suggest.ts"
import type { StatusReport } from "./statusReport.ts"
import { printable as clean } from "../events/printable.ts"

/** Why there is nothing to show of it. */
export const nothingCalled = ({ clients, mappings }: StatusReport, target: string): string => {
  const near = suggest(target, [...clients.map(({ name }) => name), ...new Set(mappings.map(({ domain }) => domain))])
  const fix =
    near === undefined ? "sallyport explain CLIENT NAME tells of what never happened yet" : `did you mean ${near}?`
  return `no client and no name in use is called ${JSON.stringify(clean(target))} — ${clean(fix)}`
}
