/** Debian's Chromium, without a screen, in one of the lab's hosts. */
import { chmodSync } from "node:fs"
import { Effect } from "effect"
import { chromium } from "playwright-core"
import { Lab, type LabHost } from "../../src/lab/demo/Lab.ts"

/** Closed with the scope. */
export const startBrowser = Effect.fnUntraced(function* (host: LabHost) {
  const lab = yield* Lab
  const program = yield* lab.writeFile(
    "chromium.sh",
    `#!/bin/sh\nexec ip netns exec ${lab.namespace(host)} chromium "$@"\n`
  )
  chmodSync(program, 0o700)
  return yield* Effect.acquireRelease(
    Effect.promise(() => chromium.launch({ executablePath: program, timeout: 30_000 })),
    (browser) => Effect.promise(() => browser.close())
  )
})

/** Texts whose colour stands out too little from what is behind it (WCAG 2.2, 1.4.3): at least 4.5 to 1 is asked for. */
export const faintTexts = `(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number)
  const luminance = ([r, g, b]) =>
    [r, g, b]
      .map((channel) => channel / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
  const ground = (node) => {
    for (let at = node; at !== null; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor)
      if (color.length === 3 || color[3] === 1) return color
    }
    return [255, 255, 255]
  }
  const ownText = (node) =>
    [...node.childNodes].filter(({ nodeType }) => nodeType === 3).map(({ data }) => data.trim()).join("")
  return [...document.body.querySelectorAll("*")].flatMap((node) => {
    if (ownText(node) === "" || !node.checkVisibility() || node.tagName === "NOSCRIPT") return []
    const [a, b] = [channels(getComputedStyle(node).color), ground(node)].map(luminance).toSorted((x, y) => y - x)
    const ratio = (a + 0.05) / (b + 0.05)
    return ratio >= 4.5 ? [] : [\`\${ownText(node)}: \${ratio.toFixed(2)}\`]
  })
})()`
