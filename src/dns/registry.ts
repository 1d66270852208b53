/** Numbers of RFC 1035, 3596, 6891, 9460. A type is a plain number everywhere: types we do not know pass through. */
export const recordType = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  SVCB: 64,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  MAILB: 253,
  MAILA: 254,
  ANY: 255
} as const

export const classInternet = 1

export const opcodeQuery = 0

export const rcode = {
  NoError: 0,
  FormErr: 1,
  ServFail: 2,
  NXDomain: 3,
  NotImp: 4,
  Refused: 5,
  BadVers: 16
} as const

const rcodeTexts: Readonly<Record<number, string>> = {
  0: "NOERROR",
  1: "FORMERR",
  2: "SERVFAIL",
  3: "NXDOMAIN",
  4: "NOTIMP",
  5: "REFUSED",
  16: "BADVERS"
}

export const rcodeText = (code: number): string => rcodeTexts[code] ?? `RCODE${code}`

/**
 * What we offer over UDP: fits the tunnel's MTU of 1280 and the recommendation of the DNS flag day 2020,
 * so that answers are never fragmented.
 */
export const udpPayloadSize = 1232
