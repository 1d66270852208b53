/** What VRRP says of a router: only as `MASTER` it has the virtual address. The last two are keepalived's own words. */
export type VrrpState = "MASTER" | "BACKUP" | "FAULT" | "STOP" | "DELETED"
