/** Which way the gateway's host would send a packet of a client. */
export type HostRoute =
  | { readonly _tag: "Leads"; readonly device: string; readonly via: string | null }
  | { readonly _tag: "None"; readonly why: string }
  /** The host does not tell. */
  | { readonly _tag: "Unknown" }
