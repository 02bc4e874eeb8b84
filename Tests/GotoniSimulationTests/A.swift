@testable import GotoniSimulation
