/** What the gateway does with the host's nftables: a table of its own; accepting rules in others' chains besides; nothing. */
export const firewalls = { nftables: "nftables", integrate: "integrate", off: "off" } as const
export type Firewall = keyof typeof firewalls
