export const otherVersionMessage =
  "the gateway's answer is of another version — use the sallyport that the gateway runs"
