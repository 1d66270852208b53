/** What `make` makes, if it does not throw and is right, like `otherwise`; else that one. */
export const ifRight = <T>(make: () => T, isRight: (made: T, otherwise: T) => boolean, otherwise: T): T => {
  try {
    const made = make()
    return isRight(made, otherwise) ? made : otherwise
  } catch {
    return otherwise
  }
}
