/** Which gateways a portal gives to a client, by what both announce (docs/portal-protocol.md, "Versions"). */
export const suits = (client: string, gateway: string): boolean => {
  const [clientMajor, clientMinor] = numbersOf(client)
  const [major, minor] = numbersOf(gateway)
  return major === clientMajor && minor >= clientMinor - 1 && minor <= clientMinor + 1
}

const numbersOf = (version: string): readonly [major: number, minor: number] => {
  const [major = "", minor = ""] = version.split(".")
  return [Number(major), Number(minor)]
}
