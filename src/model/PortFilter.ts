/** What a resource lets through; an empty list of filters lets everything through. */
export type PortFilter =
  | { readonly protocol: "tcp" | "udp"; readonly from: number; readonly to: number }
  | { readonly protocol: "icmp" }

/** `tcp/443`, `udp/8000-8100`, `tcp`, `icmp`. */
const formatPortFilter = (f: PortFilter): string => {
  if (f.protocol === "icmp") return "icmp"
  if (f.from === 0 && f.to === 65535) return f.protocol
  return f.from === f.to ? `${f.protocol}/${f.from}` : `${f.protocol}/${f.from}-${f.to}`
}

/** `tcp/443 icmp`; without any filter `all`. */
export const formatPortFilters = (filters: ReadonlyArray<PortFilter>): string =>
  filters.map(formatPortFilter).join(" ") || "all"
