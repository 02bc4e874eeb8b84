import NIOCore
import NIOHPACK
import Testing

@testable import GotoniPicker

@Suite struct GRPCTests {
    @Test func messagesComeOutAsTheyWentInHoweverTheyAreCut() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var chance = Chance(seed)
        for _ in 0..<500 {
            let messages = (0..<chance.next(below: 6)).map { _ in
                (0..<chance.next(below: 300)).map { UInt8(truncatingIfNeeded: $0) }
            }
            var wire = ByteBuffer()
            for message in messages { GRPCMessages.write(message, to: &wire) }
            var (reader, found) = (GRPCMessages(maxBytes: 300), [[UInt8]]())
            while wire.readableBytes > 0 {
                let count = 1 + chance.next(below: min(40, wire.readableBytes))
                guard let part = wire.readSlice(length: min(count, wire.readableBytes)) else { break }
                reader.add(part)
                while let message = try reader.next() { found.append(message) }
            }
            #expect(found == messages && !reader.isInside)
        }
    }

    @Test func whatIsCutOffIsSeen() throws {
        var wire = ByteBuffer()
        GRPCMessages.write([1, 2, 3], to: &wire)
        for length in 1..<wire.readableBytes {
            var reader = GRPCMessages(maxBytes: 10)
            reader.add(try #require(wire.getSlice(at: 0, length: length)))
            let message = try reader.next()
            #expect(message == nil && reader.isInside)
        }
    }

    @Test func compressedAndOversizedMessagesAreErrorsBeforeTheyHaveCome() {
        for (bytes, code) in [
            ([1, 0, 0, 0, 1] as [UInt8], GRPCStatus.Code.unimplemented), ([0, 0, 0, 0, 11], .resourceExhausted),
            ([0, 255, 255, 255, 255], .resourceExhausted),
        ] {
            var reader = GRPCMessages(maxBytes: 10)
            reader.add(ByteBuffer(bytes: bytes))
            #expect { try reader.next() } throws: { ($0 as? GRPCStatus)?.code == code }
        }
    }

    @Test func everyErrorHasAStatusThatNeedsNoEncoding() {
        for error in ConversationError.allCases {
            let status = error.status
            #expect(status.code != .ok && status.trailers.first(name: "grpc-status") == "\(status.code.rawValue)")
            #expect("\(status.message)".utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "%") })
        }
        #expect(GRPCStatus.ok.trailers.first(name: "grpc-message") == nil)
    }
}
