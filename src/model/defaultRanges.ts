/** Canonical network texts. */
export interface Ranges {
  readonly tunnel4: string
  readonly tunnel6: string
  readonly proxy4: string
  readonly proxy6: string
}

export const defaultRanges: Ranges = {
  tunnel4: "100.64.0.0/11",
  tunnel6: "fd00:2021:1111::/107",
  proxy4: "100.96.0.0/11",
  proxy6: "fd00:2021:1111:8000::/107"
}
