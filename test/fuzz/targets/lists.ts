/** Files of the host that say something of names: hosts(5), and block lists of the public. */
import { BlockList } from "../../../src/dns/BlockList.ts"
import { parseHosts } from "../../../src/dns/hosts.ts"
import { canonicalName, labelsOf } from "../../../src/dns/name.ts"
import { parseAddress } from "../../../src/packet/address.ts"
import { invariant, type Target, utf8 } from "../Target.ts"

const maxNames = 16

const hosts = (text: string): void => {
  for (const [, addresses] of parseHosts(text)) {
    invariant(addresses.length > 0 && addresses.every((a) => parseAddress(a) !== undefined), "addresses of hosts")
  }
}

const blockList = (text: string): void => {
  const whole = new BlockList(maxNames)
  whole.add(text)
  invariant(whole.size <= maxNames, "a bound that holds")
  invariant(whole.bad <= text.split("\n").length && whole.bad > 0 === whole.firstBad > 0, "bad lines are lines")
  const pieces = new BlockList(maxNames)
  for (const line of text.split("\n")) pieces.add(line)
  const same = pieces.size === whole.size && pieces.bad === whole.bad && pieces.firstBad === whole.firstBad
  invariant(same && pieces.leftOut === whole.leftOut, "the same in one piece or many")
  for (const name of text.toLowerCase().split(/\s+/)) {
    if (labelsOf(name) === null || name === "" || name === ".") continue
    const found = whole.find(canonicalName(name))
    if (found !== undefined)
      invariant(`.${canonicalName(name)}`.endsWith(`.${found}`), "found is the name, or above it")
  }
}

export const target: Target = {
  seeds: utf8(
    "10.0.0.1 a b # c\n::1 localhost\n",
    "0.0.0.0 ads.example.com tracker.example.net\r\n127.0.0.1 localhost\n",
    "# list\nexample.com\n*.example.net\n.example.org\nzip\n",
    "||ads.example.com^\n<html>\n\ufeffexample.com.\n"
  ),
  dictionary: utf8(
    "\n",
    "\r",
    "#",
    "0.0.0.0 ",
    "::",
    "127.0.0.1 ",
    "*.",
    "..",
    "\\.",
    "\ufeff",
    "localhost",
    "invalid",
    "K",
    "\0"
  ),
  maxLength: 600,
  lifetime: 1,
  bound: 30,
  start: () => (input) => {
    const text = Buffer.from(input).toString("utf8")
    hosts(text)
    blockList(text)
  }
}
