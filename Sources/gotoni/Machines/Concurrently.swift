/// `body` for all of `items` at once; what it gives, in their order.
func concurrently<Item: Sendable, Answer: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async -> Answer
) async -> [Answer] {
    await withTaskGroup(of: (Int, Answer).self) { group in
        for (index, item) in items.enumerated() {
            group.addTask { (index, await body(item)) }
        }
        var answers: [Answer?] = Array(repeating: nil, count: items.count)
        for await (index, answer) in group { answers[index] = answer }
        return answers.compactMap { $0 }
    }
}
