// What goes wrong with what a person gave: said in one plain sentence. Any other error is one of the page itself.
export class Refused extends Error {}
